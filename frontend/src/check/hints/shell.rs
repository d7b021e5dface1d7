//! A shell's text as commands, as far as hints need it.
//!
//! Quotes, escapes, comments and separators are known; loops and conditions are seen through, and what a
//! substitution runs is not looked at.

/// Words that stand before a command and are none.
const BEFORE: [&str; 11] =
    ["sudo", "env", "exec", "time", "then", "do", "if", "else", "elif", "while", "!"];

/// A simple command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Simple {
    /// The program and its arguments, without quotes; assignments before it are left out.
    pub(super) words: Vec<String>,
    /// Whether another command reads what it writes.
    pub(super) is_piped: bool,
}

impl Simple {
    /// The program, without its directory.
    pub(super) fn program(&self) -> &str {
        self.words.first().map_or("", |word| word.rsplit('/').next().unwrap_or_default())
    }

    /// The arguments that are no options, nor an option's `key=value`.
    pub(super) fn operands(&self) -> impl Iterator<Item = &str> {
        let arguments = self.words.iter().skip(1).map(String::as_str);
        arguments.filter(|word| !word.starts_with('-') && !word.contains('='))
    }

    /// Whether an option is given.
    pub(super) fn has(&self, option: &str) -> bool {
        self.words.iter().any(|word| word == option)
    }
}

/// Takes a text apart.
pub(super) fn commands(text: &str) -> Vec<Simple> {
    let mut reader = Reader::default();
    let mut rest = text.chars().peekable();
    while let Some(ch) = rest.next() {
        match (ch, reader.quote) {
            ('\'' | '"', None) => reader.open(ch),
            (ch, Some(quote)) if ch == quote => reader.quote = None,
            (ch, Some('\'')) => reader.push(ch),
            ('\\', _) => {
                if let Some(next) = rest.next().filter(|next| *next != '\n') {
                    reader.push(next);
                }
            }
            (ch, Some(_)) => reader.push(ch),
            ('#', None) if reader.word.is_none() => {
                while rest.next_if(|next| *next != '\n').is_some() {}
            }
            ('|', None) => {
                let is_pipe = rest.next_if_eq(&'|').is_none();
                reader.end_command(is_pipe);
            }
            // Part of a redirection, as in `2>&1`.
            ('&', None) if reader.word.as_ref().is_some_and(|word| word.ends_with('>')) => {
                reader.push(ch);
            }
            (';' | '&' | '\n' | '(' | ')', None) => reader.end_command(false),
            (ch, None) if ch.is_whitespace() => reader.end_word(),
            (ch, None) => reader.push(ch),
        }
    }
    reader.end_command(false);
    reader.done
}

#[derive(Default)]
struct Reader {
    done: Vec<Simple>,
    open: Simple,
    word: Option<String>,
    quote: Option<char>,
}

impl Reader {
    fn open(&mut self, quote: char) {
        self.quote = Some(quote);
        self.word.get_or_insert_default();
    }

    fn push(&mut self, ch: char) {
        self.word.get_or_insert_default().push(ch);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        let is_first = self.open.words.is_empty();
        let is_assignment = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|ch| ch.is_alphanumeric() || ch == '_')
        });
        if !is_first || !(is_assignment || BEFORE.contains(&word.as_str())) {
            self.open.words.push(word);
        }
    }

    fn end_command(&mut self, is_piped: bool) {
        self.end_word();
        let command = Simple { is_piped, ..std::mem::take(&mut self.open) };
        if !command.words.is_empty() {
            self.done.push(command);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::commands;

    fn words(text: &str) -> Vec<Vec<String>> {
        commands(text).into_iter().map(|command| command.words).collect()
    }

    #[test]
    fn commands_are_told_apart_outside_of_quotes() {
        assert_eq!(
            words(
                "set -e; A=1 sudo apt-get  update && \\\n echo 'a;b' \"c && d\" e\\ f # no; more\nls"
            ),
            [
                vec!["set", "-e"],
                vec!["apt-get", "update"],
                vec!["echo", "a;b", "c && d", "e f"],
                vec!["ls"]
            ]
        );
    }

    #[test]
    fn pipes_are_no_alternatives() {
        let piped: Vec<_> =
            commands("a | b || c; d 2>&1 |& e").iter().map(|one| one.is_piped).collect();
        assert_eq!(piped, [true, false, false, true, false]);
    }
}
