//! Whether the parts of Sentry answer, and whether they keep connections as long as the gateway does.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::Answer;
use super::ask::{Asked, Patient, TIMEOUT};
use super::check::{Check, Verdict};
use crate::policy::exposure::Service;
use crate::policy::site::{BaseUrl, HttpScheme};

/// How long beyond `idle_timeout` a connection should be kept: two timers don't agree to the moment.
const MARGIN: Duration = Duration::from_secs(1);
/// Nothing is watched for longer.
const LONGEST_WATCH: Duration = Duration::from_secs(31);

/// What the parts of Sentry answered.
pub(super) struct Seen {
    pub(super) checks: Vec<Check>,
    /// The parts that there are.
    pub(super) services: Vec<Service>,
    /// By what service: its answer, for its clock.
    pub(super) answers: Vec<(Service, Answer)>,
}

pub(super) async fn look_at(patient: &Patient<'_>) -> Seen {
    let mut seen = Seen { checks: Vec::new(), services: Vec::new(), answers: Vec::new() };
    for (service, upstream) in patient.config.upstreams.iter() {
        seen.services.push(service);
        for address in &upstream.urls {
            let Asked { tried, answer } = patient.upstream(service, address).await;
            let tls = address.scheme() == HttpScheme::Https;
            let check = judge(service, tls, &tried, &answer);
            let healthy = check.verdict == Verdict::Ok;
            seen.checks.push(check);
            if let Ok(answer) = answer.as_ref().cloned() {
                seen.answers.push((service, answer));
            }
            if service == Service::Web && healthy {
                patient.found_web(address);
            }
        }
    }
    seen
}

fn judge(service: Service, tls: bool, tried: &str, answer: &Result<Answer, String>) -> Check {
    let check = format!("upstream.{service}");
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            let keys = if tls { "`urls` or `tls`" } else { "`urls`" };
            let fix = format!(
                "start it, or correct {keys} of `[upstream.{service}]`; ask from where the gateway runs"
            );
            return Check::problem(check, tried, why, fix);
        }
    };
    let status = answer.status.as_u16();
    let healthy = match service {
        Service::Web => status == 200 && answer.body.trim_ascii() == b"ok",
        Service::Relay => {
            status == 200 && answer.json().is_some_and(|body| body["is_healthy"] == true)
        }
        // Whatever serves files.
        Service::Assets => status < 500,
    };
    if healthy {
        let said = if service == Service::Assets { "it answers" } else { "healthy" };
        return Check::ok(check, tried, format!("{status}, {said}"));
    }
    let fix = match service {
        Service::Web => "name Sentry's web service itself in `urls`, such as `http://web:9000`",
        Service::Relay => {
            "name Relay itself in `urls`, such as `http://relay:3000`; if it is, see its log"
        }
        Service::Assets => {
            "name what serves the files of the pages, such as Sentry's `http://nginx`"
        }
    };
    Check::problem(check, tried, answer.outline(), fix)
}

/// Whether an idle connection lives as long as the gateway keeps it.
pub(super) async fn keep_alive(patient: &Patient<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut watched = tokio::task::JoinSet::new();
    for (service, upstream) in patient.config.upstreams.iter() {
        for address in &upstream.urls {
            let (address, host) = (address.clone(), patient.public().authority().to_owned());
            let idle = upstream.idle_timeout;
            watched.spawn(async move { watch(service, &address, &host, idle).await });
        }
    }
    while let Some(check) = watched.join_next().await {
        checks.extend(check);
    }
    checks.sort_by(|a, b| a.check.cmp(&b.check));
    checks
}

async fn watch(service: Service, address: &BaseUrl, host: &str, idle: Duration) -> Check {
    let check = format!("idle_timeout.{service}");
    if address.scheme() == HttpScheme::Https {
        let why = "a connection over TLS is not watched";
        let fix = "keep `idle_timeout` below what closes idle connections there";
        return Check::skipped(check, "", why).with_fix(fix);
    }
    let wait = (idle + MARGIN).min(LONGEST_WATCH);
    let tried = format!("a connection to {address}, idle for {wait:?} after one answer");
    let mut stream = match timeout(TIMEOUT, one_answer(address, service.health_path(), host)).await
    {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => {
            return Check::ok(check, &tried, "each connection is closed, so none is used twice");
        }
        Ok(Err(_)) | Err(_) => {
            return Check::skipped(check, &tried, "there was no answer to wait after");
        }
    };
    match timeout(wait, stream.read(&mut [0; 64])).await {
        Err(_) if wait < idle + MARGIN => Check::skipped(
            check,
            &tried,
            format!("still open after {wait:?}; longer is not waited"),
        )
        .with_fix("keep `idle_timeout` below what the upstream has; uWSGI of Sentry has 15 s"),
        Err(_) => Check::ok(check, &tried, "still open"),
        Ok(_) => {
            let seen = format!("closed sooner than `idle_timeout` = {idle:?}");
            let fix = format!(
                "write a shorter `idle_timeout` under `[upstream.{service}]`: a request on a connection that is being closed fails"
            );
            Check::problem(check, &tried, seen, fix)
        }
    }
}

/// The connection after one whole answer; `None` if it was the last on it.
async fn one_answer(
    address: &BaseUrl,
    path: &str,
    host: &str,
) -> std::io::Result<Option<TcpStream>> {
    let name = address.host().trim_matches(['[', ']']);
    let mut stream = TcpStream::connect((name, address.port())).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::new();
    loop {
        if let Some(last) = is_whole(&read) {
            return Ok((!last).then_some(stream));
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await? {
            0 => return Ok(None),
            n if read.len() < 64 << 10 => read.extend_from_slice(&buffer[..n]),
            _ => return Err(std::io::ErrorKind::FileTooLarge.into()),
        }
    }
}

/// Whether an answer is whole, and if so whether it is the last one.
fn is_whole(read: &[u8]) -> Option<bool> {
    let text = String::from_utf8_lossy(read);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let field = |name: &str| {
        let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        let found = fields.find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    let whole = match (field("content-length"), field("transfer-encoding")) {
        (Some(length), _) => length.parse().is_ok_and(|length: usize| body.len() >= length),
        (None, Some(_)) => body.ends_with("0\r\n\r\n"),
        // It ends with the connection.
        (None, None) => false,
    };
    let last = head.starts_with("HTTP/1.0") || field("connection").is_some_and(|v| v == "close");
    whole.then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_not_and_the_last_or_not() {
        for (read, wanted) in [
            ("", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Some(false)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: Close\r\n\r\nok", Some(true)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Some(true)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", None),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                Some(false),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nok", None),
        ] {
            assert_eq!(is_whole(read.as_bytes()), wanted, "{read}");
        }
    }
}
