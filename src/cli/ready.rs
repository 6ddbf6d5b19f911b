//! `portcullis ready`: whether the gateway that runs here is ready, for what has nothing else to ask
//! with: its image has no shell.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::timeout;

use super::{Outcome, print};
use crate::client::{Speaks, client};
use crate::policy::site::BaseUrl;
use crate::store::Chain;

/// How long the gateway may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Prints what `/readyz` says. It reads no config: one that has problems is for the gateway \
    to refuse, which goes on with the one before.\n\n\
    Exit codes: 0 ready, 1 not ready or not there, 2 could not run."
)]
pub(super) struct ReadyArgs {
    /// Where the admin listener is reached (`admin.address`)
    #[arg(long, value_name = "URL", value_parser = BaseUrl::parse, default_value = "http://127.0.0.1:9090")]
    admin: BaseUrl,
}

pub(super) fn run(args: &ReadyArgs) -> anyhow::Result<Outcome> {
    let base = &args.admin;
    let url: Uri = format!("{base}/readyz").parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = runtime.block_on(async { timeout(TIMEOUT, ask(url)).await });
    let (ready, words) = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => (false, format!("{base} does not answer: {}", Chain(error.as_ref()))),
        Err(_) => (false, format!("{base} does not answer within {} s", TIMEOUT.as_secs())),
    };
    print(&format!("{}\n", words.trim_end()))?;
    Ok(if ready { Outcome::Fine } else { Outcome::Negative })
}

/// Whether it is ready, and what it says.
async fn ask(url: Uri) -> anyhow::Result<(bool, String)> {
    let request = http::Request::get(url).body(Full::<Bytes>::default())?;
    let (head, body) = client(Speaks::Http)?.request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
    let words = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok((head.status.is_success(), words))
}
