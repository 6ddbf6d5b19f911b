//! `portcullis check`: what would a start say?

use super::{ConfigArgs, Outcome};
use crate::config::{Config, Machine};
use crate::store::portcullis::{IfMissing, OpenError, PortcullisStore, StoreLocation};

/// Compiles the config and opens its stores, for reading only.
pub(super) fn run(args: &ConfigArgs) -> anyhow::Result<Outcome> {
    let config = match Config::load(&args.config, &Machine) {
        Ok(config) => config,
        Err(error) if error.is_unreadable() => return Err(error.into()),
        Err(error) => {
            eprint!("error: {error}");
            return Ok(Outcome::Negative);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut outcome = Outcome::Fine;
    for (index, store) in config.stores.iter().enumerate() {
        let location = StoreLocation::file(&store.path);
        match runtime.block_on(PortcullisStore::open(&location, IfMissing::Fail)) {
            Ok(store) => runtime.block_on(store.close()),
            // A start would create it.
            Err(OpenError::NoFile(_)) => {}
            Err(error) => {
                eprintln!("error: store[{index}] `{store}`: {:#}", anyhow::Error::from(error));
                outcome = Outcome::Negative;
            }
        }
    }
    if outcome == Outcome::Fine {
        let (rules, stores) = (config.policy.rules.len(), config.stores.len());
        println!("{}: fine ({rules} rules, {stores} store(s))", args.config.display());
    }
    Ok(outcome)
}
