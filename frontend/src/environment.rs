//! Ordered variables, as a stage and its commands see them.
//!
//! A file may declare as many variables as it has lines, so nothing here looks at all of them to set or find
//! one.

use std::collections::BTreeMap;

/// Values by name, in an order of their own.
#[derive(Debug, Clone)]
pub(crate) struct Ordered<V> {
    entries: BTreeMap<u64, (String, V)>,
    places: BTreeMap<String, u64>,
    next: u64,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), places: BTreeMap::new(), next: 0 }
    }
}

impl<V> Ordered<V> {
    /// Sets a value where the name stands, or behind all others.
    pub(crate) fn set_in_place(&mut self, name: String, value: V) {
        match self.places.get(&name) {
            Some(place) => drop(self.entries.insert(*place, (name, value))),
            None => self.set_last(name, value),
        }
    }

    /// Sets a value, behind all others.
    fn set_last(&mut self, name: String, value: V) {
        if let Some(place) = self.places.insert(name.clone(), self.next) {
            self.entries.remove(&place);
        }
        self.entries.insert(self.next, (name, value));
        self.next += 1;
    }

    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.entries.get(self.places.get(name)?).map(|(_, value)| value)
    }

    /// Names and values, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.values().map(|(name, value)| (name.as_str(), value))
    }
}

/// Where words look up variables.
pub(crate) trait Variables {
    /// The value of a variable.
    fn get(&self, name: &str) -> Option<&str>;
}

/// Names with values; setting a name moves it to the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pairs: Ordered<String>,
}

impl Environment {
    /// Sets a variable, behind all others.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.pairs.set_last(name.into(), value.into());
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.get(name).map(String::as_str)
    }

    /// Names and values, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name, value.as_str()))
    }
}

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.get(name)
    }
}

/// Variables that go before others, which stay as they are.
#[derive(Debug)]
pub(crate) struct Layered<'e> {
    /// What goes first.
    pub(crate) over: Environment,
    /// What is looked at next.
    pub(crate) under: &'e Environment,
}

impl Variables for Layered<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.over.get(name).or_else(|| self.under.get(name))
    }
}

/// Takes `NAME=value` apart; a text without `=` is a name with an empty value.
pub(crate) fn split_pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text, ""))
}
