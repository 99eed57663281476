//! Nanoseconds for people: three digits and a unit.

/// A time such as `312 ns`, `4.07 us` or `12.3 ms`.
pub(super) fn time(ns: u64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e3, "us"), (1e6, "ms"), (1e9, "s")];
    if ns < 1_000 {
        return format!("{ns} ns");
    }
    let fits = |&&(unit_ns, _): &&(f64, &str)| (ns as f64 / unit_ns) < 999.5;
    let &(unit_ns, name) = UNITS.iter().find(fits).unwrap_or(&UNITS[2]);
    let value = ns as f64 / unit_ns;
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {name}")
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn three_digits_and_a_unit() {
        let shown = [
            0,
            312,
            1_000,
            4_071,
            99_960,
            999_700,
            12_345_678,
            2_000_000_000,
        ]
        .map(time);
        let expected = [
            "0 ns", "312 ns", "1.00 us", "4.07 us", "100 us", "1.00 ms", "12.3 ms", "2.00 s",
        ];
        assert_eq!(shown, expected);
    }
}
