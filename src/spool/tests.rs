//! What is kept, and what is given back.

use std::path::Path;

use super::*;

fn spool(folder: &Path, memory: u64, max_body: u64, budget: u64) -> Spool {
    Spool::new(SpoolSettings { folder: Some(folder.to_owned()), memory, max_body, budget })
}

fn taken(spool: &Spool) -> (u64, u64) {
    (spool.known.memory.taken(), spool.known.disk.taken())
}

async fn read(mut kept: Kept) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(piece) = kept.next().await.unwrap() {
        assert!(!piece.is_empty() && piece.len() as u64 <= PIECE);
        whole.extend_from_slice(&piece);
    }
    assert_eq!(whole.len() as u64, kept.length());
    whole
}

#[tokio::test]
async fn what_is_kept_comes_back_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..300_000_usize).map(|at| (at ^ (at >> 8)) as u8).collect();
    // The length of the body, the size of its pieces, and what may stay in memory.
    let rows = [
        (0, 1, 10),
        (1, 1, 10),
        (10, 3, 10),
        (11, 3, 10),
        (11, 11, 10),
        (1000, 1, 10),
        (300_000, 7, 1000),
        (300_000, 65_536, 65_536),
        (300_000, 299_999, 65_536),
        (300_000, 300_000, 0),
    ];
    for (length, piece, memory) in rows {
        let row = format!("{length} bytes by {piece}, {memory} in memory");
        let spool = spool(folder.path(), memory, 300_000, 300_000);
        let mut body = spool.body(u64::MAX);
        for piece in bytes[..length].chunks(piece) {
            body.push(piece).await.unwrap();
            assert!(taken(&spool).0 <= memory, "{row}");
        }
        assert_eq!(body.file.is_some(), length as u64 > memory, "{row}");
        let (in_memory, on_disk) = taken(&spool);
        assert_eq!(in_memory + on_disk, length as u64, "{row}");
        let kept = body.finish();
        assert_eq!(kept.length(), length as u64, "{row}");
        assert!(read(kept).await == bytes[..length], "{row}");
        assert_eq!(taken(&spool), (0, 0), "{row}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a file has a name");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 4, 10, 100);
    for (limit, wanted) in [(10, 10), (11, 10), (9, 9), (0, 0)] {
        let mut body = spool.body(limit);
        for _ in 0..wanted {
            body.push(b"x").await.unwrap();
        }
        let error = body.push(b"x").await.unwrap_err();
        assert!(matches!(error, SpoolError::TooLarge(at) if at == wanted), "{limit}: {error}");
        drop(body);
        assert_eq!(taken(&spool), (0, 0));
    }
}

#[tokio::test]
async fn all_bodies_share_a_budget() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 0, 10, 10);
    let (mut one, mut other) = (spool.body(10), spool.body(10));
    one.push(b"123456").await.unwrap();
    assert!(matches!(other.push(b"12345").await, Err(SpoolError::Full)));
    assert_eq!(taken(&spool).1, 6);
    other.push(b"1234").await.unwrap();
    let one = one.finish();
    assert!(matches!(other.push(b"1").await, Err(SpoolError::Full)), "it is not read yet");
    drop(one);
    assert_eq!(taken(&spool).1, 4);
}

#[tokio::test]
async fn strangers_share_half_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool(folder.path(), 0, 10, 20);
    let (mut one, mut other) = (spool.body_of_a_stranger(10), spool.body_of_a_stranger(10));
    one.push(b"123456").await.unwrap();
    assert!(matches!(other.push(b"12345").await, Err(SpoolError::Full)));
    for _ in 0..2 {
        // Not the other half, and not what they have left of their own.
        let mut known = spool.body(10);
        known.push(b"1234567890").await.unwrap();
    }
    let mut known = spool.body(10);
    known.push(b"1234567890").await.unwrap();
    let mut last = spool.body_of_a_stranger(10);
    last.push(b"1234").await.unwrap();
    assert!(matches!(last.push(b"1").await, Err(SpoolError::Full)));
    drop((one, other, last));
    assert_eq!((taken(&spool).1, spool.strangers.disk.taken()), (10, 0));
}

#[tokio::test]
async fn without_memory_for_all_a_body_goes_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = spool(folder.path(), 10, 10, 100);
    spool.known.memory = Arc::new(Budget::new(12));
    let (mut one, mut other) = (spool.body(10), spool.body(10));
    one.push(b"12345678").await.unwrap();
    other.push(b"1234").await.unwrap();
    other.push(b"5").await.unwrap();
    assert_eq!(taken(&spool), (8, 5));
    other.push(b"6").await.unwrap();
    assert_eq!(taken(&spool), (9, 5));
    assert_eq!(read(other.finish()).await, b"123456");
    assert_eq!(read(one.finish()).await, b"12345678");
    assert_eq!(taken(&spool), (0, 0));
}

#[tokio::test]
async fn a_folder_that_is_not_there_keeps_what_fits_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let spool = spool(&missing, 4, 10, 100);
    assert!(spool.settings.try_folder().is_err());
    let mut body = spool.body(10);
    body.push(b"1234").await.unwrap();
    assert!(matches!(body.push(b"5").await, Err(SpoolError::Unwritable)));
    drop(body);
    assert_eq!(taken(&spool), (0, 0));
}

#[test]
fn no_room_is_told_from_what_needs_an_operator() {
    let full =
        [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
    for kind in full {
        assert!(matches!(refusal(kind), SpoolError::Full), "{kind}");
    }
    for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
        assert!(matches!(refusal(kind), SpoolError::Unwritable), "{kind}");
    }
}
