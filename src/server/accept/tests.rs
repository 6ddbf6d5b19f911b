//! What a listener does when its settings change, without a gateway behind it.

use prometheus::Registry;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::clock::{SystemClock, Timestamp};
use crate::policy::exposure::Exposures;
use crate::seats::SeatLimits;
use crate::server_tls::{ServerTls, made};

/// Sends back what comes, and ends with the connection.
struct Echo;

#[async_trait]
impl ServerApp for Echo {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        _: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut bytes = [0; 64];
        while let Ok(size @ 1..) = stream.read(&mut bytes).await {
            stream.write_all(&bytes[..size]).await.ok()?;
            stream.flush().await.ok()?;
        }
        None
    }
}

fn listen(address: SocketAddr, tls: Option<&ServerTls>) -> Vec<Listen> {
    vec![Listen { address, exposed: Exposures::API, tls: tls.cloned(), proxy_protocol: None }]
}

fn seats() -> Arc<Seats> {
    Seats::new(SeatLimits { total: 100, per_client: 100, exempt: Vec::new() })
}

async fn echoes(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = vec![0; text.len()];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, text.as_bytes());
}

/// Calls a listener that must have this certificate.
async fn call(
    address: SocketAddr,
    own: &CertificateDer<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut believed = RootCertStore::empty();
    believed.add(own.clone()).unwrap();
    let config =
        ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(believed)
            .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("gw.example").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn new_settings_are_for_new_connections() {
    let registry = Registry::new();
    let metrics = Arc::new(ListenMetrics::register(&registry).unwrap());
    let listener = Listener::open("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.address();
    let (one, own) = made::tls("one.crt", "gw.example");
    let (two, other) = made::tls("two.crt", "gw.example");
    let entrances = Entrances::new(listen(address, Some(&one)), seats(), metrics, Alarm::new());
    entrances.tell(&[]);
    let readiness = Arc::new(Readiness::default());
    let clock = Arc::new(SystemClock);
    let mut service = Listening {
        name: "public".to_owned(),
        app: Arc::new(Echo),
        listeners: vec![listener],
        entrances: entrances.clone(),
        threads: None,
        readiness: Some(Arc::clone(&readiness)),
        clock,
    };
    // Kept: pingora's end is told when it is gone.
    let (pingora, shutdown) = watch::channel(false);
    let ready = ServiceReadyNotifier::new(watch::Sender::new(false));
    let running = tokio::runtime::Handle::current().spawn(async move {
        service.start_service(None, shutdown, 1, ready).await;
    });
    let certificates = || {
        let families = registry.gather();
        let name = "portcullis_certificate_not_after_seconds";
        let family = families.into_iter().find(|family| family.name() == name);
        let series = family.map(|family| family.get_metric().to_vec()).unwrap_or_default();
        let paths = series.iter().map(|one| one.get_label()[0].value().to_owned());
        paths.collect::<Vec<_>>()
    };

    let mut first = call(address, &own).await.unwrap();
    echoes(&mut first, "one").await;
    assert_eq!(certificates(), ["one.crt"]);

    let shown = Shown { path: "upstream.crt".to_owned(), not_after: Timestamp::from_millis(0) };
    entrances.replace(listen(address, Some(&two)), &[shown]);
    assert_eq!(certificates(), ["two.crt", "upstream.crt"]);
    assert!(call(address, &own).await.is_err());
    let mut second = call(address, &other).await.unwrap();
    echoes(&mut second, "two").await;
    echoes(&mut first, "still one").await;

    entrances.replace(listen(address, None), &[]);
    assert_eq!(certificates(), [""; 0]);
    let mut third = TcpStream::connect(address).await.unwrap();
    echoes(&mut third, "plain").await;
    echoes(&mut second, "still two").await;

    entrances.close().await;
    running.await.unwrap();
    drop(pingora);
    assert!(TcpStream::connect(address).await.is_err());
    // Who is served is served on.
    echoes(&mut first, "one at the end").await;
    echoes(&mut third, "plain at the end").await;
}
