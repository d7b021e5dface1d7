//! The wish that a running command end at once.

use std::fmt;
use std::sync::Arc;

/// Asked many times a second while a command runs; once it answers yes, the sandbox is killed.
///
/// It is a question, not a flag of its own, so that whatever a caller already cancels by can be asked.
#[derive(Clone)]
pub struct Cancel(Arc<dyn Fn() -> bool + Send + Sync>);

impl Cancel {
    /// Cancelled as soon as `asked` answers yes.
    #[must_use]
    pub fn when(asked: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(asked))
    }

    /// Never cancelled.
    #[must_use]
    pub fn never() -> Self {
        Self::when(|| false)
    }

    /// Whether the command is to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}
