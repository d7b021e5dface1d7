//! Ordered variables, as a stage and its commands see them.

/// Names with values; setting a name moves it to the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    pairs: Vec<(String, String)>,
}

impl Environment {
    /// Sets a variable, behind all others.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.pairs.retain(|(known, _)| *known != name);
        self.pairs.push((name, value.into()));
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Names and values, in order.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }
}

/// Takes `NAME=value` apart; a text without `=` is a name with an empty value.
pub(crate) fn split_pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}
