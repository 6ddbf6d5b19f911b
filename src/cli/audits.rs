//! The audits that a command reads.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::history::Entry;
use crate::history::lines::{self, Tally};

/// After so many lines a long file says how far it is.
const SAID_EACH: u64 = 1_000_000;

/// Which audits.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// A file of an audit, a rotated one too; repeat it. `-` is standard input, as for
    /// `zcat audit.log.2.gz |`
    #[arg(long = "audit", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl AuditArgs {
    /// Calls `each` with every decision, and says what could not be read; how many lines that are. A last line
    /// that is not whole is none of them: whoever writes the audit has not finished it.
    ///
    /// # Errors
    /// When a file can't be read, or no file has a decision: nothing would be said of nothing.
    pub(super) fn read(&self, mut each: impl FnMut(&Entry)) -> anyhow::Result<u64> {
        let (mut decisions, mut bad) = (0, 0);
        for file in &self.files {
            let name = file.display();
            let tally = self.read_one(file, &mut each);
            let tally = tally
                .with_context(|| format!("`{name}` can't be read; name the file of an audit"))?;
            decisions += tally.decisions;
            bad += tally.bad;
            for (line, error) in &tally.named {
                eprintln!("note: {name}:{line}: no record: {error}");
            }
            let more = tally.bad - tally.named.len() as u64;
            if more > 0 {
                eprintln!("note: {name}: {more} more lines are no records");
            }
            if tally.torn {
                eprintln!("note: {name}: the last line is not whole, and is left out");
            }
        }
        if decisions == 0 {
            bail!("no record of a decision in what was named; name the file of `audit.output`");
        }
        Ok(bad)
    }

    fn read_one(&self, file: &PathBuf, each: &mut impl FnMut(&Entry)) -> io::Result<Tally> {
        let name = file.display();
        let source: Box<dyn BufRead> = if file.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            Box::new(BufReader::new(File::open(file)?))
        };
        let mut said = SAID_EACH;
        lines::read(source, |line, entry| {
            if line >= said {
                eprintln!("{name}: {line} lines");
                said = line + SAID_EACH;
            }
            each(entry);
        })
    }
}

/// Nothing, unless lines could not be read: then what is said leaves out what they may hold.
///
/// # Errors
/// That they could not.
pub(super) fn whole(bad: u64) -> anyhow::Result<()> {
    if bad > 0 {
        bail!(
            "{bad} lines are no records, and what is said leaves them out; name the files of `audit.output`, whole"
        );
    }
    Ok(())
}
