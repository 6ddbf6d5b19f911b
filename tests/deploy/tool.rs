//! The machine's own programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A program with its arguments.
pub struct Tool(Command);

impl Tool {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self(command)
    }

    /// Where it is; also where only root looks.
    pub fn path(program: &str) -> PathBuf {
        let folders =
            ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
        let mut paths = folders.iter().map(|folder| Path::new(folder).join(program));
        let found = paths.find(|path| path.is_file());
        found.unwrap_or_else(|| panic!("`{program}` is missing: run `make setup`"))
    }

    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    /// An option that takes a path.
    pub fn arg(mut self, option: &str, path: &Path) -> Self {
        self.0.arg(option).arg(path);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn within(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub fn output(mut self) -> Output {
        let program = self.0.get_program().to_owned();
        self.0.output().unwrap_or_else(|error| {
            panic!("`{}` can't be run: {error}; run `make setup`", program.display())
        })
    }

    /// What it prints, when it ends well.
    pub fn text(self) -> String {
        let what = format!("{:?}", self.0);
        let output = self.output();
        let (text, said) = (lossy(&output.stdout), lossy(&output.stderr));
        assert!(output.status.success(), "{what}: {}\n{text}\n{said}", output.status);
        text
    }
}

pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until it is so; two minutes, since what is started here is slow on a busy machine.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2400 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{what}: not within two minutes");
}
