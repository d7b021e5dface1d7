//! Comparing with the corpus, case by case, and counting.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

/// How many differences are told at the end.
const SHOWN: usize = 20;

/// One table of the corpus and how Kiln compares with it.
///
/// A case may differ when it is argued for: the decision that says why is named where [`Comparison::finish`]
/// is called.
#[derive(Debug)]
pub struct Comparison {
    table: &'static str,
    equal: usize,
    not_yet: usize,
    differing: Vec<(String, String)>,
}

impl Comparison {
    /// Nothing compared yet.
    #[must_use]
    pub fn of(table: &'static str) -> Self {
        Self { table, equal: 0, not_yet: 0, differing: Vec::new() }
    }

    /// Counts one case; `difference` says in what it differs.
    pub fn case(&mut self, id: &str, difference: Option<String>) {
        match difference {
            None => self.equal += 1,
            Some(difference) => self.differing.push((id.to_owned(), difference)),
        }
    }

    /// Counts one case that Kiln says it cannot do yet.
    pub fn not_yet(&mut self) {
        self.not_yet += 1;
    }

    /// Tells the counts and the first differences, on standard error and, for whoever adds up, in the file that
    /// `KILN_COMPARED` names.
    ///
    /// # Panics
    /// When a case differs that is not among `argued`, an argued one does not, or fewer than `at_least` cases
    /// were compared.
    pub fn finish(self, argued: &[&str], at_least: usize) {
        let Self { table, equal, not_yet, differing } = &self;
        let mut told = format!("{table}: {equal} equal, {} differ", differing.len());
        told.push_str(&format!(", {not_yet} not supported yet\n"));
        for (id, difference) in differing.iter().take(SHOWN) {
            told.push_str(&format!("    {id}: {difference}\n"));
        }
        // There is nobody else to tell.
        let _unseen = io::stderr().write_all(told.as_bytes());
        if let Some(path) = std::env::var_os("KILN_COMPARED") {
            let mut list =
                OpenOptions::new().append(true).create(true).open(path).expect("the list");
            list.write_all(told.as_bytes()).expect("the list of what was compared");
        }
        assert!(equal + not_yet + differing.len() >= at_least, "{table}: too few cases");
        let differs = |id: &str| differing.iter().any(|(found, _)| found == id);
        let unargued = differing.iter().filter(|(id, _)| !argued.contains(&id.as_str())).count();
        assert_eq!(unargued, 0, "{table}: {unargued} cases differ and are not argued for");
        let settled: Vec<_> = argued.iter().filter(|id| !differs(id)).collect();
        assert!(settled.is_empty(), "{table}: {settled:?} do not differ any more");
    }
}
