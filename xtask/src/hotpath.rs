//! `cargo xtask hotpath`: the machine code of the hot paths, held against a table of rules.
//!
//! A promise such as "no locked instruction, no call" is about what the compiler made, which no test
//! of behaviour sees: a function that stops being inlined, or an assertion that creeps in, changes
//! nothing but the cost. So the probes of `probes/` are built as they are released and decoded, and
//! the hit path of each ([`path`]) is compared with its line in the table ([`rules`]).
//!
//! Some probes break the rules on purpose. A run in which one of them passes fails.

mod build;
mod image;
mod path;
mod rules;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::Image;
use path::{Called, Callee, Finding, Goal, Walk, is_panic, walk};
use rules::{CONTROLS, RULES, Rule};

/// Builds the probes as they are released.
pub(crate) fn built() -> Result<PathBuf, String> {
    build::probes()
}

/// The functions that the rule of a probe counts as parts of it; `None` for a probe without a rule.
pub(crate) fn parts(probe: &str) -> Option<&'static [&'static str]> {
    let rule = RULES.iter().find(|rule| rule.probe == probe)?;
    Some(rule.parts)
}

/// Checks every probe.
pub(crate) fn run() -> Result<(), String> {
    let program = built()?;
    let image = read(&program)?;
    controls(&image)?;
    let mut broken = Vec::new();
    println!("probe                  instructions  locked  slow paths");
    for rule in RULES {
        let (walk, complaints) = check(&image, rule);
        let slow: Vec<&str> = walk.slow.iter().map(String::as_str).collect();
        let (length, locked) = (walk.instructions, locked(&walk));
        println!(
            "{:22} {length:12}  {locked:6}  {}",
            rule.probe,
            slow.join(", ")
        );
        broken.extend(complaints);
    }
    if broken.is_empty() {
        println!("hotpath: {} probes keep their rules", RULES.len());
        return Ok(());
    }
    let (count, list) = (broken.len(), broken.join("\n"));
    Err(format!(
        "hotpath: {count} findings in {}\n{list}\nThe rules are in xtask/src/hotpath/rules.rs.",
        program.display()
    ))
}

fn read(program: &Path) -> Result<Image, String> {
    let unreadable = |why: String| format!("hotpath: cannot read {}: {why}", program.display());
    let bytes = std::fs::read(program).map_err(|error| unreadable(error.to_string()))?;
    Image::read(&bytes).map_err(unreadable)
}

/// Those that break a rule must be found out, and the one that breaks none must pass.
fn controls(image: &Image) -> Result<(), String> {
    for (rule, expected) in CONTROLS {
        let (_, complaints) = check(image, rule);
        let is_as_expected = match expected.is_empty() {
            true => complaints.is_empty(),
            false => complaints.iter().any(|text| text.contains(expected)),
        };
        if !is_as_expected {
            return Err(format!(
                "hotpath: the checker does not work: of {} it should say {expected:?}, it says {complaints:#?}",
                rule.probe
            ));
        }
    }
    Ok(())
}

/// Follows the hit path of a probe through all its parts, and says what breaks the rule.
fn check(image: &Image, rule: &Rule) -> (Walk, Vec<String>) {
    let (mut whole, mut complaints) = (Walk::default(), Vec::new());
    let probe = rule.probe.to_string();
    let (mut open, mut seen) = (Vec::new(), BTreeSet::new());
    match image.start(rule.probe) {
        Some(start) => open.push((start, probe)),
        None => complaints.push(format!("{probe}: the program has no function {probe}")),
    }
    while let Some((start, name)) = open.pop() {
        if !seen.insert(start) {
            continue;
        }
        let Some(code) = image.code(start) else {
            let probe = rule.probe;
            complaints.push(format!("{probe}: the program has no code of {name}"));
            continue;
        };
        let walk = walk(&code, &|goal| callee(image, goal), &|name| {
            judge(rule, name)
        });
        complaints.extend(forbidden(rule, &name, &walk));
        open.extend(walk.parts);
        whole.instructions += walk.instructions;
        whole.slow.extend(walk.slow);
        whole.found.extend(walk.found);
    }
    complaints.extend(too_many_locked(rule, &whole));
    (whole, complaints)
}

/// What is wrong if the hit path has more locked instructions than the rule allows.
fn too_many_locked(rule: &Rule, whole: &Walk) -> Option<String> {
    let locked = locked(whole);
    if locked <= rule.locked_max {
        return None;
    }
    let (probe, most) = (rule.probe, rule.locked_max);
    let places = whole
        .found
        .iter()
        .filter(|(_, _, finding)| is_locked(finding));
    let places: Vec<String> = places
        .map(|(offset, text, _)| format!("`{text}` at +{offset:#x}"))
        .collect();
    Some(format!(
        "{probe}: {locked} locked instructions, {most} allowed: {}",
        places.join(", ")
    ))
}

fn callee(image: &Image, goal: Goal) -> Callee {
    let (names, start) = match goal {
        Goal::Address(address) => (image.names_at(address), Some(address)),
        Goal::Slot(slot) => (image.names_in_slot(slot), image.address_in_slot(slot)),
        Goal::Register => (vec!["a function known at run time only".into()], None),
    };
    Callee { names, start }
}

fn judge(rule: &Rule, name: &str) -> Called {
    if rule.slow.contains(&name) {
        Called::Slow
    } else if rule.parts.contains(&name) {
        Called::Part
    } else {
        Called::Forbidden
    }
}

/// What the walk of one function found, apart from locked instructions, which are counted.
fn forbidden(rule: &Rule, function: &str, walk: &Walk) -> Vec<String> {
    let sentence = |finding: &Finding| match finding {
        Finding::Locked => None,
        Finding::Fence => Some("is a fence".to_string()),
        Finding::Odd => Some("is a system call, a trap or a jump that cannot be followed".into()),
        Finding::Call(names) if names.iter().any(|name| is_panic(name)) => {
            Some(format!("panics by {}", names.join(" or ")))
        }
        Finding::Call(names) => Some(format!("calls {}", names.join(" or "))),
    };
    let probe = rule.probe;
    let no_hit_path = (!walk.returns).then(|| {
        format!("{probe}: {function} has no hit path: each way through it takes a slow path")
    });
    let found = walk.found.iter().filter_map(|(offset, text, finding)| {
        let sentence = sentence(finding)?;
        Some(format!(
            "{probe}: `{text}` at {function}+{offset:#x} {sentence}"
        ))
    });
    no_hit_path.into_iter().chain(found).collect()
}

fn locked(walk: &Walk) -> usize {
    let locked = walk
        .found
        .iter()
        .filter(|(_, _, finding)| is_locked(finding));
    locked.count()
}

fn is_locked(finding: &Finding) -> bool {
    *finding == Finding::Locked
}
