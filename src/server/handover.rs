//! Handing the listening sockets to a new process of the gateway, so that another binary takes the
//! place of the one that runs and nobody is refused in between.
//!
//! The old process starts the new one with a socket as its standard input, sends the listening sockets
//! through it, and waits for a word that the new one serves. Until then, and if it never comes, the old
//! one serves as before.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::config::{Machine, Source as _};

/// Says to a process that its standard input is such a socket.
const VARIABLE: &str = "PORTCULLIS_HANDOVER";
/// What the new process says when it serves.
const SERVING: &str = "serving\n";
/// How long the new process may take to serve.
const START: Duration = Duration::from_secs(60);
/// How long a process waits for the other one's sockets.
const SEND: Duration = Duration::from_secs(10);
/// The most listening sockets.
const MAX_SOCKETS: usize = 64;
/// The addresses of so many, as text.
const MAX_NAMES: usize = 64 * MAX_SOCKETS;

/// Listening sockets by the addresses that the config has for them.
pub(super) type Sockets = Vec<(SocketAddr, TcpListener)>;

/// How this process was started, and can be again.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// That of this process.
    ///
    /// # Errors
    /// When the system does not tell its path.
    pub(super) fn current() -> io::Result<Self> {
        let mut words = std::env::args_os();
        let called = words.next().map(PathBuf::from);
        // As it was called, where that is whole: a link may lead to another file by then. Else now: once the
        // file has been replaced, its path is no longer told.
        let path = match called.filter(|path| path.is_absolute() && path.exists()) {
            Some(path) => path,
            None => std::env::current_exe()?,
        };
        Ok(Self { path, arguments: words.collect() })
    }

    /// Starts another process of it, which takes `sockets` over, and waits until that serves.
    ///
    /// # Errors
    /// Why it does not; it has ended then.
    pub(super) fn hand_over(&self, sockets: &Sockets, wire: Wire) -> anyhow::Result<u32> {
        anyhow::ensure!(
            std::process::id() != 1,
            "the first process of a container can't be replaced; start another container instead"
        );
        let Wire { ours, theirs, is_cut } = wire;
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env(VARIABLE, "1")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .with_context(|| format!("`{}` can't be started", self.path.display()))?;
        let mut child = Unproven(Some(child));
        send(&ours, sockets).context("the new process does not take the sockets")?;
        ours.set_read_timeout(Some(START))?;
        let mut word = String::new();
        BufReader::new(&*ours).read_line(&mut word).context("the new process does not serve")?;
        anyhow::ensure!(word == SERVING, "the new process does not serve; its log says why");
        anyhow::ensure!(!is_cut.load(Ordering::Acquire), "nobody waits for the new process");
        child.prove().context("the new process does not serve")
    }
}

/// What a process and the one that it starts talk over.
pub(super) struct Wire {
    ours: Arc<UnixStream>,
    theirs: UnixStream,
    is_cut: Arc<AtomicBool>,
}

impl Wire {
    /// # Errors
    /// When no file is left.
    pub(super) fn new() -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok(Self { ours: Arc::new(ours), theirs, is_cut: Arc::default() })
    }

    /// By which it can be cut.
    pub(super) fn end(&self) -> End {
        End(Arc::clone(&self.ours), Arc::clone(&self.is_cut))
    }
}

/// The end of a wire.
pub(super) struct End(Arc<UnixStream>, Arc<AtomicBool>);

impl End {
    /// Whoever waits for a word waits no longer, and does not count one that has come.
    pub(super) fn cut(&self) {
        self.1.store(true, Ordering::Release);
        // It may have been closed already.
        self.0.shutdown(Shutdown::Both).unwrap_or_default();
    }
}

/// A new process, which is ended unless it turns out to serve.
struct Unproven(Option<Child>);

impl Unproven {
    fn prove(&mut self) -> Option<u32> {
        self.0.take().map(|child| child.id())
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended already.
            child.kill().unwrap_or_default();
            child.wait().map(drop).unwrap_or_default();
        }
    }
}

/// What the process before this one handed over.
#[derive(Debug)]
pub(super) struct Inherited {
    sockets: Sockets,
    predecessor: UnixStream,
}

impl Inherited {
    /// The sockets of the process before this one, if there is one.
    ///
    /// # Errors
    /// When it does not send them.
    pub(super) fn receive() -> anyhow::Result<Option<Self>> {
        if Machine.env(VARIABLE).is_none() {
            return Ok(None);
        }
        let predecessor = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)?;
        predecessor.set_read_timeout(Some(SEND))?;
        let sockets = receive(&predecessor)
            .with_context(|| format!("`{VARIABLE}` is set, and no sockets come; unset it"))?;
        Ok(Some(Self { sockets, predecessor }))
    }

    /// The socket for an address of the config, if it was handed over.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.sockets.iter().position(|(name, _)| *name == address)?;
        Some(self.sockets.remove(at).1)
    }

    /// Tells the process before this one that it can end.
    ///
    /// # Errors
    /// When it has ended already.
    pub(super) fn serving(mut self) -> io::Result<()> {
        self.predecessor.write_all(SERVING.as_bytes())
    }
}

fn send(to: &UnixStream, sockets: &Sockets) -> anyhow::Result<()> {
    anyhow::ensure!(sockets.len() <= MAX_SOCKETS, "there are more than {MAX_SOCKETS} of them");
    let names: String = sockets.iter().map(|(name, _)| format!("{name}\n")).collect();
    let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    anyhow::ensure!(ancillary.push(SendAncillaryMessage::ScmRights(&sockets)), "too many");
    let text = [IoSlice::new(names.as_bytes())];
    let sent = sendmsg(to, &text, &mut ancillary, SendFlags::NOSIGNAL)?;
    anyhow::ensure!(sent == names.len(), "they were sent in part");
    Ok(())
}

fn receive(from: &UnixStream) -> anyhow::Result<Sockets> {
    let mut names = [0; MAX_NAMES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [IoSliceMut::new(&mut names)];
    let received = recvmsg(from, &mut text, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(handles) = message {
            sockets.extend(handles.map(TcpListener::from));
        }
    }
    let names = names.get(..received.bytes).unwrap_or_default();
    let names: Vec<SocketAddr> =
        std::str::from_utf8(names)?.lines().map(str::parse).collect::<Result<_, _>>()?;
    anyhow::ensure!(
        names.len() == sockets.len() && !sockets.is_empty(),
        "{} addresses came with {} sockets",
        names.len(),
        sockets.len()
    );
    Ok(names.into_iter().zip(sockets).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn sockets_arrive_with_their_addresses() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let names = ["0.0.0.0:0", "[::1]:8080", "127.0.0.1:9090"].map(|name| name.parse().unwrap());
        let sockets: Sockets =
            names.iter().map(|name| (*name, TcpListener::bind("127.0.0.1:0").unwrap())).collect();
        let addresses: Vec<_> =
            sockets.iter().map(|(_, socket)| socket.local_addr().unwrap()).collect();
        send(&ours, &sockets).unwrap();
        drop(sockets);
        let sockets = receive(&theirs).unwrap();
        let mut inherited = Inherited { sockets, predecessor: theirs };
        for (name, address) in names.iter().zip(addresses) {
            let socket = inherited.take(*name).unwrap();
            assert_eq!(socket.local_addr().unwrap(), address);
            // It is open all the time.
            TcpStream::connect(address).unwrap();
            socket.accept().unwrap();
        }
        assert!(inherited.take(names[0]).is_none());
        inherited.serving().unwrap();
        let mut word = String::new();
        BufReader::new(ours).read_line(&mut word).unwrap();
        assert_eq!(word, SERVING);
    }

    #[test]
    fn what_is_no_handover_is_refused() {
        for text in ["", "127.0.0.1:80\n", "x\n"] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(text.as_bytes()).unwrap();
            drop(ours);
            receive(&theirs).unwrap_err();
        }
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = socket.local_addr().unwrap();
        let many = (0..=MAX_SOCKETS).map(|_| (name, socket.try_clone().unwrap())).collect();
        send(&ours, &many).unwrap_err();
    }

    #[test]
    fn a_program_that_does_not_serve_has_ended() {
        let sockets =
            vec![("127.0.0.1:1".parse().unwrap(), TcpListener::bind("127.0.0.1:0").unwrap())];
        let program = |path: &str| Program { path: path.into(), arguments: Vec::new() };
        let error =
            program("/nowhere/portcullis").hand_over(&sockets, Wire::new().unwrap()).unwrap_err();
        assert!(format!("{error:#}").contains("can't be started"), "{error:#}");
        let error = program("/bin/true").hand_over(&sockets, Wire::new().unwrap()).unwrap_err();
        // Whether it ended before or after the sockets were sent is chance.
        assert!(format!("{error:#}").contains("the new process does not"), "{error:#}");
        // One that never says a word is ended when it is waited for no longer.
        let wire = Wire::new().unwrap();
        wire.end().cut();
        let waits = Program { path: "/bin/sleep".into(), arguments: vec!["1000".into()] };
        waits.hand_over(&sockets, wire).unwrap_err();
    }
}
