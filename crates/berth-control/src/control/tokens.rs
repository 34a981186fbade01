//! API tokens.

use berth_store::StoreError;

use super::Control;
use crate::ControlError;
use crate::token::{self, Scope, Token};

impl Control {
    /// Makes a token. Its text is given only now.
    ///
    /// # Errors
    /// The records, or no random numbers.
    pub fn make_token(
        &self,
        name: &str,
        scope: Scope,
        expires: Option<String>,
    ) -> Result<(Token, String), ControlError> {
        let text = token::generate()?;
        let token = Token {
            id: uuid::Uuid::new_v4().simple().to_string(),
            name: name.to_owned(),
            scope,
            created: crate::clock::now(),
            expires,
        };
        let digest = token::digest(&text);
        self.inner.store.create(token::KIND, &digest, &token)?;
        Ok((token, text))
    }

    /// Who shows this text; `None`: nobody that is known, or not any more.
    ///
    /// # Errors
    /// The records.
    pub fn authenticate(&self, text: &str) -> Result<Option<Token>, ControlError> {
        let found = self
            .inner
            .store
            .get::<Token>(token::KIND, &token::digest(text))?;
        Ok(found.map(|record| record.value).filter(Token::is_valid))
    }

    /// All tokens, oldest first.
    ///
    /// # Errors
    /// The records.
    pub fn tokens(&self) -> Result<Vec<Token>, ControlError> {
        let listed = self.inner.store.list::<Token>(token::KIND)?;
        let mut tokens: Vec<Token> = listed.into_iter().map(|(_, record)| record.value).collect();
        tokens.sort_by(|one, other| one.created.cmp(&other.created));
        Ok(tokens)
    }

    /// Ends a token; whether there was one of this id.
    ///
    /// # Errors
    /// The records.
    pub fn revoke_token(&self, id: &str) -> Result<bool, ControlError> {
        let listed = self.inner.store.list::<Token>(token::KIND)?;
        for (digest, record) in listed {
            if record.value.id != id {
                continue;
            }
            return match self
                .inner
                .store
                .delete(token::KIND, &digest, record.revision)
            {
                Ok(()) => Ok(true),
                // Somebody else did it.
                Err(StoreError::Conflict { .. }) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
        Ok(false)
    }
}
