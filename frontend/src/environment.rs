//! Ordered variables, as a stage and its commands see them.
//!
//! A file may declare as many variables as it has lines, so nothing here looks at all of them to set or find
//! one.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Values by name, in an order of their own. A copy shares them until either is changed: most stages change little of
/// what they begin with.
#[derive(Debug, Clone)]
pub(crate) struct Ordered<V>(Arc<Maps<V>>);

#[derive(Debug, Clone)]
struct Maps<V> {
    entries: BTreeMap<u64, (String, V)>,
    places: BTreeMap<String, u64>,
    next: u64,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self(Arc::new(Maps { entries: BTreeMap::new(), places: BTreeMap::new(), next: 0 }))
    }
}

impl<V: Clone> Ordered<V> {
    /// Sets a value where the name stands, or behind all others.
    pub(crate) fn set_in_place(&mut self, name: String, value: V) {
        match self.0.places.get(&name).copied() {
            Some(place) => {
                drop(Arc::make_mut(&mut self.0).entries.insert(place, (name, value)));
            }
            None => self.set_last(name, value),
        }
    }

    /// Sets a value, behind all others.
    fn set_last(&mut self, name: String, value: V) {
        let Maps { entries, places, next } = Arc::make_mut(&mut self.0);
        if let Some(place) = places.insert(name.clone(), *next) {
            entries.remove(&place);
        }
        entries.insert(*next, (name, value));
        *next += 1;
    }
}

impl<V> Ordered<V> {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.0.entries.get(self.0.places.get(name)?).map(|(_, value)| value)
    }

    /// Names and values, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.0.entries.values().map(|(name, value)| (name.as_str(), value))
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
