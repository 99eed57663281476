//! The doctor answers for every property, and says what to do about a refusal.

mod common;

use common::corelane;

#[test]
fn every_property_has_a_verdict_and_every_refusal_a_remedy() {
    let report = corelane(&["doctor", "--json", "-"]).json();
    let properties = report["properties"].as_array().expect("a list");
    assert!(
        properties
            .iter()
            .any(|property| property["name"] == "fifo policy")
    );
    for property in properties {
        assert!(!property["name"].as_str().expect("a name").is_empty());
        assert!(
            !property["asked"]
                .as_str()
                .expect("what was asked")
                .is_empty(),
            "{property}"
        );
        assert!(
            !property["detail"]
                .as_str()
                .expect("what was found")
                .is_empty(),
            "{property}"
        );
        let verdict = property["verdict"].as_str().expect("a verdict");
        assert!(
            ["granted", "refused", "not asked", "unknown"].contains(&verdict),
            "{property}"
        );
        assert_eq!(
            property.get("remedy").is_some(),
            verdict == "refused",
            "{property}"
        );
    }
}

#[test]
fn the_text_names_the_properties_of_the_json() {
    let json = corelane(&["doctor", "--json", "-"]);
    let text = corelane(&["doctor"]).stdout;
    for property in json.json()["properties"].as_array().expect("a list") {
        assert!(
            text.contains(property["name"].as_str().expect("a name")),
            "{property}"
        );
    }
    assert!(
        json.stderr.contains("fifo policy"),
        "the text goes to standard error instead"
    );
}
