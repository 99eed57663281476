//! What the program is asked to do.

use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: corelane-soak [--minutes N] [--seed S]
  --minutes N   how long, also 0.2; 1 unless given
  --seed S      of every random choice; 1 unless given. Timing is not repeated by it.";

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Arguments {
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

const MINUTES_MAX: f64 = 60.0 * 24.0 * 30.0;

impl Arguments {
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
        let mut words = words.into_iter();
        let mut arguments = Arguments {
            duration: Duration::from_secs(60),
            seed: 1,
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let wrong = || format!("{word} {value} is not understood");
            match word.as_str() {
                "--minutes" => {
                    let minutes: f64 = value.parse().map_err(|_| wrong())?;
                    if !(minutes > 0.0 && minutes <= MINUTES_MAX) {
                        return Err(wrong());
                    }
                    arguments.duration = Duration::from_secs_f64(60.0 * minutes);
                }
                "--seed" => arguments.seed = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn minutes_may_be_a_fraction() {
        let arguments = parse("--minutes 0.5 --seed 7").unwrap();
        assert_eq!(arguments.duration, Duration::from_secs(30));
        assert_eq!(arguments.seed, 7);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--minutes",
            "--minutes 0",
            "--minutes x",
            "--hours 1",
            "--seed -1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
