//! Answers for a certificate authority that asks over HTTP whether a name is ours (RFC 8555 §8.3).

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// Where it asks.
const PATH: &str = "/.well-known/acme-challenge/";

/// What is answered now: token → key authorization.
#[derive(Debug, Default)]
pub struct Challenges {
    answers: RwLock<HashMap<String, String>>,
}

impl Challenges {
    pub(crate) fn set(&self, token: &str, answer: String) {
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        answers.insert(token.to_owned(), answer);
    }

    pub(crate) fn remove(&self, token: &str) {
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        answers.remove(token);
    }

    /// The answer for a path. What is not asked of us is the Worker's to answer.
    pub(crate) fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        answers.get(token).cloned()
    }
}
