//! Rotation: a new secret in place of an old one, with a time in which both are good.
//!
//! **Invariant:** a token has one successor, and at most two of a line are in force.

use std::time::Duration;

use super::PortcullisStore;
use super::admin::{
    AdminError, Candidate, INSERT, Issued, IssuedSecret, is_name_taken, new_id, stored, values,
};
use super::census::Census;
use super::row::Token;
use crate::clock::Timestamp;
use crate::policy::credential::Digest;
use crate::store::StoreError;

/// Only once, and never after it was revoked.
const SUCCEED: &str = "UPDATE token SET successor = $1, expires_at = $2, revoked_at = $3 \
    WHERE id = $4 AND successor IS NULL AND revoked_at IS NULL";

/// How a token is rotated.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// How long the old secret is good for besides; with none it is revoked at once.
    pub overlap: Duration,
    /// How long the new one lives.
    pub lifetime: Lifetime,
}

/// How long a new secret lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the old one was to when it was created.
    Same,
    /// So long.
    For(Duration),
    /// Until it is revoked.
    Unlimited,
}

/// Why a token was not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// There is none.
    #[error("there is no token `{0}`; see `token list`")]
    NotFound(String),
    /// It is no more.
    #[error("`{0}` was revoked; create a token in its place")]
    Revoked(String),
    /// It has a successor.
    #[error("`{id}` was rotated already; rotate its successor, `{successor}`")]
    Rotated {
        /// Which.
        id: String,
        /// What was issued in its place.
        successor: String,
    },
    /// The one before it is in force.
    #[error(
        "`{before}`, in whose place `{id}` was issued, is in force until {until}; revoke it first, or wait"
    )]
    Overlap {
        /// Which.
        id: String,
        /// The one before it.
        before: String,
        /// The end of that.
        until: Timestamp,
    },
    /// Nobody uses it, so nobody needs another secret.
    #[error("`{0}` is a canary, which nobody uses; revoke it, and create another")]
    Canary(String),
    /// The new one would be refused at once.
    #[error("the new token would expire at once; give it a time such as `30d`")]
    NoLifetime,
    /// It can't be created.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl From<StoreError> for RotateError {
    fn from(error: StoreError) -> Self {
        RotateError::Admin(error.into())
    }
}

impl PortcullisStore {
    /// Issues a token that is the one of this id but for its secret, which is in the answer and nowhere
    /// else. The old one is refused when the overlap is over, or when it would have expired.
    ///
    /// # Errors
    /// See [`RotateError`]. Nothing is changed then.
    pub async fn rotate(
        &self,
        id: &str,
        rotation: Rotation,
        now: Timestamp,
    ) -> Result<Issued, RotateError> {
        let old = self.rotatable(id, now).await?;
        let Rotation { overlap, lifetime } = rotation;
        let expires_at = match lifetime {
            Lifetime::Same => old.expires_at.map(|expiry| now.after(old.created_at.until(expiry))),
            Lifetime::For(duration) => Some(now.after(duration)),
            Lifetime::Unlimited => None,
        };
        if expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(RotateError::NoLifetime);
        }
        let end =
            old.expires_at.map_or(now.after(overlap), |expiry| expiry.min(now.after(overlap)));
        let revoked_at = overlap.is_zero().then_some(now);
        let secret = IssuedSecret::new(old.kind)?;
        let token = Token {
            id: new_id()?,
            digest: Digest::of(secret.expose()),
            created_at: now,
            expires_at,
            last_used_at: None,
            rotated_from: Some(old.id.clone()),
            census: Census::default(),
            ..old
        };
        let succeed = vec![
            token.id.as_str().into(),
            Some(stored(end)?).into(),
            revoked_at.map(stored).transpose()?.into(),
            id.into(),
        ];
        // In this order: a name is free again once its token has a successor.
        let steps = vec![(SUCCEED, succeed), (INSERT, values(&token)?)];
        match self.database.steps(steps).await {
            Ok(true) => Ok(Issued { token, secret }),
            // Somebody else was faster: to say what they did, it is looked at again.
            Ok(false) => match self.rotatable(id, now).await {
                Ok(_) => Err(RotateError::NotFound(id.to_owned())),
                Err(error) => Err(error),
            },
            Err(error) if is_name_taken(&error) => Err(AdminError::NameTaken(token.name).into()),
            Err(error) => Err(AdminError::Write(error).into()),
        }
    }

    /// The ids of the tokens that go with the one that `text` means when that is revoked: those before it
    /// in its line that are not revoked, where it is meant by its name.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn before(&self, meant: &Candidate, text: &str) -> Result<Vec<String>, StoreError> {
        if meant.name != text || meant.id == text {
            return Ok(Vec::new());
        }
        let before = self.candidates(text).await?.into_iter().filter(|one| {
            let rotated = one.successor.is_some() && one.revoked_at.is_none();
            rotated && one.name == text && one.id != meant.id
        });
        Ok(before.map(|one| one.id).collect())
    }

    /// The token of this id, if it can be rotated.
    async fn rotatable(&self, id: &str, now: Timestamp) -> Result<Token, RotateError> {
        let token = self.token(id).await?;
        let token = token.ok_or_else(|| RotateError::NotFound(id.to_owned()))?;
        if let Some(successor) = token.successor {
            return Err(RotateError::Rotated { id: token.id, successor });
        }
        if token.revoked_at.is_some() {
            return Err(RotateError::Revoked(token.id));
        }
        if token.canary {
            return Err(RotateError::Canary(token.id));
        }
        let before = match &token.rotated_from {
            Some(before) => self.token(before).await?,
            None => None,
        };
        if let Some(before) = before
            && before.revoked_at.is_none()
            && let Some(until) = before.expires_at.filter(|expiry| now < *expiry)
        {
            return Err(RotateError::Overlap { id: token.id, before: before.id, until });
        }
        Ok(token)
    }
}
