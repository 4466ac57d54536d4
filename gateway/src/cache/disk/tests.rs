use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use tempfile::TempDir;

use super::super::record::tests::entry;
use super::*;
use crate::clock::Time;

fn open_at(path: &Path, max_size: u64) -> (Disk, TierMetrics) {
    let metrics = TierMetrics::default();
    (Disk::open(&DiskConfig { path: path.to_owned(), max_size }, &metrics, Time::default()).unwrap(), metrics)
}

/// Returns once everything has been done that was asked before.
async fn settle(disk: &Disk) {
    assert_eq!(disk.purge(&Purge::Tag("no such tag".into())).await.unwrap(), 0);
}

async fn put(disk: &Disk, entry: Entry) {
    disk.put(&Arc::new(entry));
    settle(disk).await;
}

async fn body(disk: &Disk, number: u8) -> Option<Vec<u8>> {
    let entry = disk.get(&Fingerprint([number; 32]), Form::Whole).await;
    entry.map(|entry| entry.body.to_vec())
}

fn files(path: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut files = Vec::new();
    for path in entries(path) {
        if path.is_dir() { files.extend(entries(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test]
async fn answers_survive_a_restart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/b");
    let (disk, _) = open_at(&path, 1 << 20);
    assert_eq!(body(&disk, 1).await, None);
    put(&disk, entry(1, 10_000)).await;
    let mut stream = entry(1, 5);
    stream.meta.form = Form::Stream(2);
    put(&disk, stream).await;
    assert_eq!(body(&disk, 1).await, Some(vec![1; 10_000]));
    drop(disk);
    let (disk, metrics) = open_at(&path, 1 << 20);
    settle(&disk).await;
    let back = disk.get(&Fingerprint([1; 32]), Form::Whole).await.unwrap();
    assert_eq!((back.body.len(), &*back.meta.model, back.meta.key.as_deref()), (10_000, "assistant", Some("bot")));
    assert_eq!(disk.get(&Fingerprint([1; 32]), Form::Stream(2)).await.unwrap().body.len(), 5);
    assert!(disk.get(&Fingerprint([1; 32]), Form::Stream(3)).await.is_none());
    assert_eq!((metrics.disk_bytes.get(), metrics.disk_entries.get()), (4 * 4096, 2), "in blocks");
    put(&disk, entry(1, 1)).await;
    assert_eq!(body(&disk, 1).await, Some(vec![1]), "in place of the one before");
    assert_eq!((disk.size().0, files(&path).len()), (2 * 4096, 2));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&files(&path)[0])), (0o700, 0o600));
}

#[tokio::test]
async fn what_was_not_used_for_long_makes_room() {
    let folder = TempDir::new().unwrap();
    let (disk, _) = open_at(folder.path(), 4 * 4096);
    for number in 1..=4 {
        put(&disk, entry(number, 100)).await;
    }
    assert!(body(&disk, 1).await.is_some());
    put(&disk, entry(5, 100)).await;
    assert_eq!(disk.size().0, 4 * 4096);
    assert_eq!((body(&disk, 2).await, body(&disk, 1).await.is_some()), (None, true));
    put(&disk, entry(6, 3 * 4096 - 1000)).await;
    assert_eq!((disk.size().0, disk.size().2, files(folder.path()).len()), (4 * 4096, 2, 2));
    put(&disk, entry(7, 5 * 4096)).await;
    assert_eq!((body(&disk, 7).await, disk.size().2), (None, 2), "it would not fit at all");
    disk.resize(4096);
    settle(&disk).await;
    settle(&disk).await;
    assert_eq!((disk.size().2, files(folder.path()).len()), (0, 0));
}

#[tokio::test]
async fn what_is_damaged_or_over_is_removed() {
    let folder = TempDir::new().unwrap();
    let (disk, metrics) = open_at(folder.path(), 1 << 20);
    put(&disk, entry(1, 100)).await;
    let file = files(folder.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(body(&disk, 1).await, None);
    assert_eq!((disk.size().2, files(folder.path()).len(), metrics.of("disk").failures.get()), (0, 0, 1));

    put(&disk, entry(2, 100)).await;
    fs::remove_file(&files(folder.path())[0]).unwrap();
    assert_eq!((body(&disk, 2).await, disk.size().2), (None, 0), "somebody else has removed it");

    let mut short = entry(3, 100);
    short.meta.ttl = Duration::from_millis(50);
    put(&disk, short.clone()).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(body(&disk, 3).await, None);
    settle(&disk).await;
    assert_eq!(files(folder.path()).len(), 0);
    put(&disk, short).await;
    assert_eq!(files(folder.path()).len(), 0);

    // What a process that was killed leaves, and what is not ours.
    put(&disk, entry(4, 100)).await;
    put(&disk, entry(5, 9000)).await;
    drop(disk);
    let [four, five] = [4, 5].map(|number| {
        files(folder.path()).into_iter().find(|file| fs::read(file).unwrap().ends_with(&[number])).unwrap()
    });
    let whole = fs::read(&five).unwrap();
    fs::write(&five, &whole[..whole.len() / 2]).unwrap();
    let old = folder.path().join("unfinished-1");
    fs::write(&old, "x").unwrap();
    fs::File::open(&old).unwrap().set_modified(SystemTime::now() - Duration::from_secs(600)).unwrap();
    fs::write(folder.path().join("unfinished-2"), "x").unwrap();
    fs::write(folder.path().join("notes.txt"), "x").unwrap();
    fs::write(four.with_file_name("zz"), "x").unwrap();
    let (disk, _) = open_at(folder.path(), 1 << 20);
    settle(&disk).await;
    assert_eq!((body(&disk, 4).await.is_some(), body(&disk, 5).await), (true, None));
    let left = files(folder.path());
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(!old.exists() && !five.exists() && four.exists());
}

#[tokio::test]
async fn purges() {
    let folder = TempDir::new().unwrap();
    let (disk, _) = open_at(folder.path(), 64 << 20);
    for (number, key, model, tag) in [(1, "a", "m", "x"), (2, "a", "n", "y"), (3, "b", "n", "x"), (4, "b", "o", "x")] {
        let mut entry = entry(number, 10);
        (entry.meta.key, entry.meta.model, entry.meta.tags) = (Some(key.into()), model.into(), vec![tag.into()]);
        disk.put(&Arc::new(entry));
    }
    let purged = async |what: Purge| disk.purge(&what).await.unwrap();
    assert_eq!(purged(Purge::Key("a".into())).await, 2, "also what waited to be written");
    assert_eq!((body(&disk, 1).await, body(&disk, 2).await), (None, None));
    assert_eq!(purged(Purge::Model("o".into())).await, 1);
    assert_eq!(purged(Purge::Fingerprint(Fingerprint([9; 32]))).await, 0);
    assert_eq!((purged(Purge::Tag("x".into())).await, files(folder.path()).len()), (1, 0));
    let then = SystemTime::now() - Duration::from_secs(60);
    for (number, made) in [(1, then - Duration::from_secs(1)), (2, then)] {
        let mut entry = entry(number, 10);
        entry.meta.created = made;
        disk.put(&Arc::new(entry));
    }
    assert_eq!(disk.purge_before(&Purge::Key("bot".into()), then).await.unwrap(), 1);
    assert_eq!((body(&disk, 1).await, body(&disk, 2).await), (None, Some(vec![2; 10])));
    assert_eq!(purged(Purge::Key("bot".into())).await, 1);
    for number in 0..=255 {
        disk.put(&Arc::new(entry(number, 10)));
    }
    assert_eq!((purged(Purge::All).await, files(folder.path()).len(), disk.size().0), (256, 0, 0));
}

#[tokio::test]
async fn a_process_that_has_handed_over_leaves_the_folder_alone() {
    let folder = TempDir::new().unwrap();
    let (old, metrics) = open_at(folder.path(), 1 << 20);
    let (new, _) = open_at(folder.path(), 1 << 20);
    settle(&new).await;
    put(&old, entry(1, 10)).await;
    assert_eq!(body(&new, 1).await, None, "it is not known there");
    old.hand_over();
    put(&old, entry(2, 10)).await;
    assert_eq!((files(folder.path()).len(), metrics.of("disk").dropped.get()), (2, 1), "the first one, and a note");
    settle(&old).await;
    settle(&new).await;
    assert_eq!((body(&new, 1).await, new.size().2), (Some(vec![1; 10]), 1));
    assert_eq!((new.purge(&Purge::All).await.unwrap(), files(folder.path()).len()), (1, 0));
}

#[tokio::test]
async fn a_folder_that_cannot_be_used() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let config = DiskConfig { path: file.join("cache"), max_size: 1 };
    assert!(Disk::open(&config, &TierMetrics::default(), Time::default()).is_err());
    let path = folder.path().join("cache");
    let (disk, metrics) = open_at(&path, 1 << 20);
    put(&disk, entry(1, 10)).await;
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "in its place").unwrap();
    assert_eq!(body(&disk, 1).await, None);
    put(&disk, entry(2, 10)).await;
    put(&disk, entry(3, 10)).await;
    let counters = metrics.of("disk");
    assert_eq!((counters.failures.get(), counters.dropped.get()), (2, 1), "a read and a write, and then a rest");
}
