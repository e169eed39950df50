//! The words in front of the flags: what the process is to do.

use super::Wrong;

/// What the process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Be the controller; without any words.
    Run,
    /// `migrate check`: tell what would change if albacore took over, and change nothing.
    MigrateCheck {
        /// `--output=json`: for machines.
        json: bool,
    },
}

impl Command {
    /// Takes the words from the arguments of a process; what is left are flags.
    ///
    /// # Errors
    /// Words that mean nothing.
    pub(super) fn take(mut arguments: Vec<String>) -> Result<(Self, Vec<String>), Wrong> {
        if arguments.get(1).is_none_or(|word| word != "migrate") {
            return Ok((Self::Run, arguments));
        }
        if arguments.get(2).is_none_or(|word| word != "check") {
            let wrong =
                "`migrate` does nothing by itself: write `albacore migrate check`, and the flags of the controller";
            return Err(Wrong(vec![wrong.to_owned()]));
        }
        let mut flags = arguments.split_off(3).into_iter();
        // It is not the controller, so it waits for no lease, and what it has to say is not the log.
        let mut kept = vec![arguments.swap_remove(0), "--log-level=warn".to_owned()];
        let mut json = false;
        while let Some(flag) = flags.next() {
            let output = match flag.trim_start_matches('-') {
                "output" | "o" => flags.next().unwrap_or_default(),
                bare => match bare.strip_prefix("output=") {
                    Some(output) => output.to_owned(),
                    None => {
                        kept.push(flag);
                        continue;
                    }
                },
            };
            json = match output.as_str() {
                "json" => true,
                "text" => false,
                other => return Err(Wrong(vec![format!("--output={other}: write json or text")])),
            };
        }
        kept.push("--enable-leader-election=false".to_owned());
        Ok((Self::MigrateCheck { json }, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(words: &str) -> Result<(Command, Vec<String>), Wrong> {
        Command::take(words.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn flags_alone_run_the_controller() {
        let (command, flags) = take("albacore --cluster-name=demo").unwrap();
        assert_eq!((command, flags.len()), (Command::Run, 2));
        assert_eq!(take("albacore").unwrap().0, Command::Run);
    }

    #[test]
    fn a_check_takes_the_flags_of_the_controller_and_one_of_its_own() {
        for output in ["--output=json", "--output json", "-o json"] {
            let (command, flags) = take(&format!("albacore migrate check --cluster-name=demo {output}")).unwrap();
            assert_eq!(command, Command::MigrateCheck { json: true });
            assert!(flags.contains(&"--cluster-name=demo".to_owned()), "{flags:?}");
            assert!(!flags.iter().any(|flag| flag.contains("json")), "{flags:?}");
        }
        let (command, flags) = take("albacore migrate check").unwrap();
        assert_eq!(command, Command::MigrateCheck { json: false });
        assert_eq!(flags.last().map(String::as_str), Some("--enable-leader-election=false"));
    }

    #[test]
    fn words_that_mean_nothing_are_answered_with_those_that_do() {
        for words in ["albacore migrate", "albacore migrate --cluster-name=demo"] {
            assert!(take(words).unwrap_err().to_string().contains("albacore migrate check"));
        }
        let wrong = take("albacore migrate check --output=xml").unwrap_err();
        assert!(
            wrong.to_string().contains("--output=xml: write json or text"),
            "{wrong}"
        );
    }
}
