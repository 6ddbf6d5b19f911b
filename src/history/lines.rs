//! Reading the lines of an audit: however long the file is, one of them is kept at a time.

use std::io::{self, BufRead};

use super::Entry;

/// A longer line is no record, in bytes: a path has at most 512 in one.
const MAX_LINE: usize = 1 << 20;
/// How many bad lines are named.
const NAMED: usize = 5;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Decisions.
    pub decisions: u64,
    /// Lines of something else: access lines, administration, settings.
    pub others: u64,
    /// Lines that can't be read.
    pub bad: u64,
    /// The first of them, each with its number and what is wrong.
    pub named: Vec<(u64, String)>,
    /// Whether the last line has no end, and can't be read, as when it is being written.
    pub torn: bool,
}

/// Calls `each` with every decision; with the number of lines so far.
///
/// # Errors
/// What the source has.
pub fn read(mut source: impl BufRead, mut each: impl FnMut(u64, &Entry)) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        let Some(whole) = next(&mut source, &mut line)? else { return Ok(tally) };
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let entry = if line.len() > MAX_LINE {
            Err(format!("it is longer than {MAX_LINE} bytes"))
        } else {
            serde_json::from_slice::<Entry>(&line).map_err(|error| error.to_string())
        };
        match entry {
            Ok(entry) if entry.is_decision() => {
                tally.decisions += 1;
                each(number, &entry);
            }
            Ok(_) => tally.others += 1,
            Err(_) if !whole => tally.torn = true,
            Err(error) => {
                tally.bad += 1;
                if tally.named.len() < NAMED {
                    tally.named.push((number, error));
                }
            }
        }
    }
}

/// Reads the next line into `line`, one byte more than is taken at most; whether it has an end, or
/// nothing when there is none.
fn next(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let mut begun = false;
    loop {
        let read = match source.fill_buf() {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read.is_empty() {
            return Ok(begun.then_some(false));
        }
        begun = true;
        let end = read.iter().position(|byte| *byte == b'\n');
        let part = &read[..end.unwrap_or(read.len())];
        let room = (MAX_LINE + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = end.map_or(read.len(), |end| end + 1);
        source.consume(used);
        if end.is_some() {
            return Ok(Some(true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(text: &[u8]) -> (Tally, Vec<String>) {
        let mut seen = Vec::new();
        // A buffer that is smaller than a line.
        let source = io::BufReader::with_capacity(7, text);
        let tally = read(source, |_, entry| seen.push(entry.path.clone())).unwrap();
        (tally, seen)
    }

    #[test]
    fn every_line_is_a_decision_something_else_or_named() {
        let text = b"{\"msg\":\"audit\",\"kind\":\"decision\",\"path\":\"/a\",\"new\":[1]}\n\
            {\"msg\":\"request\",\"path\":\"/b\"}\n\n{\"msg\":\"audit\",\"kind\":\"settings\"}\n\
            {\"msg\":\"audit\",\"kind\":\"decision\",\"path\":\"/c\",\"held\":7}\nnothing\n\xff\n\
            {\"msg\":\"audit\",\"kind\":\"decision\",\"path\":\"/d\"}\n{\"msg\":\"audit\",\"ki";
        let (tally, seen) = tally(text);
        assert_eq!(seen, ["/a", "/d"]);
        assert_eq!((tally.decisions, tally.others, tally.bad, tally.torn), (2, 2, 3, true));
        let lines: Vec<u64> = tally.named.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [5, 6, 7]);
    }

    #[test]
    fn a_last_line_without_an_end_counts_when_it_is_whole() {
        let (tally, seen) = tally(b"{\"msg\":\"audit\",\"kind\":\"decision\",\"path\":\"/a\"}");
        assert_eq!((seen.len(), tally.torn, tally.bad), (1, false, 0));
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let long = [b'['].repeat(3 * MAX_LINE);
        let mut text = long.clone();
        text.extend_from_slice(b"\n{\"msg\":\"request\"}\n");
        let (tally, _) = tally(&text);
        assert_eq!((tally.bad, tally.others), (1, 1));
        assert!(tally.named[0].1.contains("longer than"), "{tally:?}");
        let (mut source, mut line) = (io::Cursor::new(long), Vec::new());
        assert_eq!(next(&mut source, &mut line).unwrap(), Some(false));
        assert_eq!(line.len(), MAX_LINE + 1);
    }
}
