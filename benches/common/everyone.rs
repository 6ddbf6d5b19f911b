//! A token store that knows every token.

use std::fmt;

use async_trait::async_trait;
use portcullis::policy::credential::{Digest, Presented};
use portcullis::policy::identity::KindSet;
use portcullis::store::{Found, StoreError, TokenStore};

/// Each as what this says of its digest.
pub(crate) struct Everyone<F>(pub(crate) F);

impl<F> fmt::Debug for Everyone<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Everyone")
    }
}

#[async_trait]
impl<F: Fn(&Digest) -> Found + Send + Sync> TokenStore for Everyone<F> {
    fn name(&self) -> &str {
        "everyone"
    }

    fn takes(&self) -> KindSet {
        KindSet::DEFAULT
    }

    async fn find(&self, presented: Presented<'_>) -> Result<Option<Found>, StoreError> {
        Ok(Some((self.0)(&presented.credential.digest)))
    }
}
