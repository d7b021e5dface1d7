//! Fixtures, golden files, a server, an account and a person at a terminal for tests.
//!
//! A case is a file under `testdata/`; its golden file stands beside it. With `KILN_BLESS=1` in the
//! environment [`check`] rewrites golden files instead of comparing them. Knows no type of Kiln's.

mod account;
mod comparison;
mod golden;
mod outside;
mod person;
mod server;

pub use account::{Account, give};
pub use comparison::Comparison;
pub use golden::{Case, cases, check, documents};
pub use outside::{corpus, corpus_directory, skipped};
pub use person::Person;
pub use server::{Answer, Asked, Server};
