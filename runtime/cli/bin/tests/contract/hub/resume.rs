//! Pulls that are killed, two at once, files that change, disks that are full.

use super::{World, padded, succeeded, tiny, told};
use crate::smidgen;
use smidgen_tests::Random;
use smidgen_tests::hub::Fault;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How often pulls are killed in all.
const KILLS: usize = 50;
/// Bytes that may be sent again for each connection and kill, and connections of a pull.
const LOST: u64 = 1 << 20;
const CONNECTIONS: u64 = 4;

impl World {
    /// Begins a command.
    fn begin(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Begins a pull, and kills it when so many bytes of the path were sent.
    fn kill_after(&self, name: &str, path: &str, bytes: u64) {
        let mut child = self.begin(&["pull", "--plain", name]);
        let is_sent = self.hub.wait_until(Duration::from_secs(60), |requests| {
            requests.iter().filter(|request| request.path.contains(path)).map(|request| request.sent).sum::<u64>()
                >= bytes
        });
        // What was sent last is on its way.
        std::thread::sleep(Duration::from_millis(30));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        told(&output);
        assert!(is_sent && !output.status.success(), "{output:?}");
        assert!(self.shelf().is_empty(), "{:?}", self.shelf());
    }
}

/// Bytes that were sent more than once.
fn again(world: &World) -> u64 {
    world.hub.overlap().values().sum()
}

/// The promise of a download: whenever it is killed, the next goes on.
#[test]
fn pulls_that_are_killed_at_random_moments_go_on() {
    let world = World::new();
    let bytes = padded(10, 3);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    world.hub.throttle(16_384, 1);
    let (mut random, mut repeated, mut ends, mut kills) = (Random(50), 0, 0, 0);
    for form in [&["pull", "--plain", "hf:user/repo"][..], &["pull", "hf:user/repo"]] {
        let begun = Instant::now();
        let (paths, _) = succeeded(&world.run(form));
        let (usual, whole) = (begun.elapsed(), fs::read(&paths[0]).unwrap());
        let forget = || {
            let repeated = again(&world);
            world.forget();
            world.hub.forget();
            repeated
        };
        forget();
        for _ in 0..KILLS / 2 {
            let mut child = world.begin(form);
            std::thread::sleep(usual.mul_f64(random.below(1000) as f64 / 1000.0));
            // One that has ended is not killed, and counts all the same: then the next begins anew.
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            told(&output);
            kills += 1;
            if output.status.success() {
                ends += 1;
                repeated += forget();
            } else {
                assert_eq!(output.status.code(), None, "{output:?}");
                // No half file stands under its name.
                let models = world.shelf().into_iter().filter(|path| path.ends_with(".gguf"));
                models.for_each(|path| assert!(fs::read(&path).unwrap() == whole, "half of {path}"));
            }
        }
        let (paths, _) = succeeded(&world.run(form));
        let plain = if form.contains(&"--plain") {
            paths[0].clone()
        } else {
            let plain = world.dir.path("plain.gguf");
            assert!(smidgen(&["unpack", &paths[0], &plain]).status().unwrap().success());
            plain
        };
        assert!(fs::read(plain).unwrap() == bytes, "other bytes after the kills");
        assert!(world.left().is_empty(), "{:?}", world.left());
        repeated += forget();
    }
    let limit = LOST * CONNECTIONS * kills as u64;
    println!(
        "{kills} kills, of which {ends} came too late: {repeated} bytes were sent twice, {} a kill",
        repeated / kills as u64
    );
    assert!(repeated <= limit, "{repeated} of {limit}");
    assert!(ends < KILLS / 2, "most kills came too late: {ends}");
}

#[test]
fn a_killed_pull_repeats_little() {
    let world = World::new();
    let bytes = padded(6, 4);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    world.hub.throttle(16_384, 4);
    world.kill_after("hf:user/repo", "/cdn/", 5 << 20);
    let before = world.hub.sent("/cdn/");
    world.gives("hf:user/repo", &bytes);
    assert!(before > 4 << 20 && again(&world) <= CONNECTIONS * LOST, "{before} {}", again(&world));
}

#[cfg(unix)]
#[test]
fn a_pull_that_is_asked_to_end_leaves_its_part_for_the_next() {
    use std::os::unix::process::ExitStatusExt;
    let world = World::new();
    let bytes = padded(6, 5);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    world.hub.throttle(16_384, 4);
    let child = world.begin(&["pull", "--plain", "hf:user/repo"]);
    let is_so =
        |requests: &[smidgen_tests::hub::Request]| requests.iter().map(|request| request.sent).sum::<u64>() > 4 << 20;
    assert!(world.hub.wait_until(Duration::from_secs(60), is_so));
    let sent = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let ended = output.status.signal() == Some(15) || output.status.code() == Some(143);
    assert!(sent.success() && ended, "{output:?}");
    told(&output);
    assert!(world.shelf().is_empty() && world.left().len() == 2, "{:?} {:?}", world.shelf(), world.left());
    world.gives("hf:user/repo", &bytes);
    assert!(again(&world) <= CONNECTIONS * LOST, "{}", again(&world));
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let world = World::new();
    let bytes = padded(4, 6);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    world.hub.throttle(16_384, 2);
    let both = [0, 1, 2].map(|_| world.begin(&["pull", "--plain", "hf:user/repo"]));
    let mut found = Vec::new();
    for child in both {
        let output = child.wait_with_output().unwrap();
        let (paths, told) = succeeded(&output);
        assert!(fs::read(&paths[0]).unwrap() == bytes);
        found.push((paths, told.contains("waiting for another pull")));
    }
    assert!(found.iter().all(|(paths, _)| *paths == found[0].0), "{found:?}");
    assert!(again(&world) <= 3, "{}", again(&world));
    // By other names, at once, of which each leads to the file.
    world.forget();
    world.hub.forget();
    let names = ["hf:user/repo:Q4_0", "hf:user/repo/m-Q4_0.gguf", "user/repo"];
    let both = names.map(|name| world.begin(&["pull", "--plain", name]));
    for child in both {
        assert!(fs::read(&succeeded(&child.wait_with_output().unwrap()).0[0]).unwrap() == bytes);
    }
    assert!(again(&world) <= 3, "{}", again(&world));
}

#[test]
fn a_lock_that_a_dead_process_leaves_is_taken_over() {
    let world = World::new();
    let bytes = padded(4, 7);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    world.hub.throttle(16_384, 2);
    world.kill_after("hf:user/repo", "/cdn/", 1 << 20);
    let mut locks = Vec::new();
    super::walk(std::path::Path::new(&world.dir.path("cache/models")), &mut locks);
    assert!(locks.iter().any(|path| path.ends_with(".lock")), "{locks:?}");
    let (found, told) = world.pull("hf:user/repo");
    assert!(found == bytes && !told.contains("waiting"), "{told}");
}

#[test]
fn a_plain_file_of_the_same_etag_goes_on() {
    let world = World::new();
    let bytes = padded(4, 8);
    world.hub.file("/m.gguf", bytes.clone());
    world.hub.throttle(16_384, 2);
    world.kill_after(&world.address("/m.gguf"), "/m.gguf", 3 << 20);
    world.gives(&world.address("/m.gguf"), &bytes);
    assert!(again(&world) <= CONNECTIONS * LOST, "{}", again(&world));
    let ranged = |request: &smidgen_tests::hub::Request| request.header("if-range").is_some();
    assert!(world.hub.requests().iter().any(ranged));
}

#[test]
fn a_plain_file_that_changed_since_begins_anew() {
    for etag in [Some("\"first\""), Some("W/\"weak\""), None] {
        let world = World::new();
        let (old, new) = (padded(4, 9), padded(4, 10));
        world.hub.file_with("/m.gguf", old, etag, None);
        world.hub.throttle(16_384, 2);
        world.kill_after(&world.address("/m.gguf"), "/m.gguf", 3 << 20);
        // The weak one stays the same, as it may.
        let other = etag.map(|etag| if etag.starts_with('W') { etag } else { "\"second\"" });
        world.hub.file_with("/m.gguf", new.clone(), other, None);
        world.gives(&world.address("/m.gguf"), &new);
    }
}

#[test]
fn a_repository_with_another_commit_is_another_file() {
    let world = World::new();
    let (old, new) = (padded(4, 11), padded(4, 12));
    world.hub.repository("user/repo").file("m-Q4_0.gguf", old).lfs();
    world.hub.throttle(16_384, 2);
    world.kill_after("hf:user/repo", "/cdn/", 3 << 20);
    world.hub.repository("user/repo").commit().file("m-Q4_0.gguf", new.clone()).lfs();
    let (found, _) = world.pull("hf:user/repo");
    assert!(found == new);
}

#[test]
fn a_plain_file_that_changes_while_it_comes_begins_anew() {
    let old = padded(4, 13);
    for (what, new) in [("longer", padded(5, 14)), ("shorter", padded(3, 15)), ("other", padded(4, 16))] {
        let world = World::new();
        world.hub.file("/m.gguf", old.clone());
        let fault = world.hub.fault(Fault::Changed(new.clone())).on("/m.gguf").after(4).times(1);
        let (found, _) = world.pull(&world.address("/m.gguf"));
        assert!(found == new, "{what}");
        assert_eq!(fault.left(), 0);
    }
}

#[test]
fn a_file_of_the_hub_that_changes_while_it_comes_is_told() {
    let old = padded(4, 17);
    for (what, new) in [("longer", padded(5, 18)), ("shorter", padded(3, 19)), ("other", padded(4, 20))] {
        let world = World::new();
        world.hub.repository("user/repo").file("m-Q4_0.gguf", old.clone()).lfs();
        let fault = world.hub.fault(Fault::Changed(new)).on("/cdn/").after(4).times(1);
        // What was published has another length, or another digest.
        let words = if what == "other" { "thrown away" } else { "bytes of it" };
        world.fails(&["pull", "hf:user/repo"], &["m-Q4_0.gguf", words]);
        assert_eq!(fault.left(), 0);
    }
}

#[test]
fn a_cut_answer_of_a_file_that_changes_without_ranges_begins_anew() {
    let world = World::new();
    let (old, new) = (padded(2, 21), padded(3, 22));
    world.hub.file("/m.gguf", old);
    world.hub.fault(Fault::NoRanges).on("/m.gguf");
    world.hub.fault(Fault::Cut(1 << 20)).on("/m.gguf").after(1).times(1);
    let fault = world.hub.fault(Fault::Changed(new.clone())).on("/m.gguf").after(2).times(1);
    world.gives(&world.address("/m.gguf"), &new);
    assert_eq!(fault.left(), 0);
}

#[test]
fn what_a_torn_journal_says_is_held_against_the_digest() {
    let world = World::new();
    let bytes = padded(4, 23);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    world.hub.throttle(16_384, 2);
    world.kill_after("hf:user/repo", "/cdn/", 2 << 20);
    // The bytes did not reach the disk, though the journal says so.
    let left = world.left();
    let part = left.iter().find(|path| path.ends_with(".part")).unwrap();
    fs::write(part, vec![0; bytes.len()]).unwrap();
    world.gives("hf:user/repo", &bytes);
    world.forget();
    for junk in [&b"smidgen 1"[..], b"\xff\xfe\n0 9999999999999999999999\n", b"", b"0 100\n5 3\n"] {
        world.kill_after("hf:user/repo", "/cdn/", world.hub.sent("/cdn/") + (1 << 20));
        let left = world.left();
        let journal = left.iter().find(|path| path.ends_with(".journal")).unwrap();
        fs::write(journal, junk).unwrap();
        world.gives("hf:user/repo", &bytes);
        world.forget();
    }
}

/// A file system of 4 MB, which goes with this.
#[cfg(target_os = "linux")]
struct Disk(String);

#[cfg(target_os = "linux")]
impl Disk {
    /// None where this process may not mount one.
    fn at(path: String) -> Option<Disk> {
        fs::create_dir_all(&path).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs", &path])
            .stderr(Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Disk(path))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_room_is_told_before_the_first_byte() {
    let world = World::new();
    let Some(_disk) = Disk::at(world.dir.path("cache")) else {
        assert!(std::env::var_os("SMIDGEN_EXPECT_MOUNT").is_none(), "this process may not mount a file system");
        eprintln!("SKIPPED: this process may not mount a file system");
        return;
    };
    let bytes = padded(4, 24);
    world.hub.repository("user/repo").file("m-Q4_0.gguf", bytes.clone()).lfs();
    let cache = world.dir.path("cache");
    let named = [&cache, "are free", "are needed", "smidgen prune", "SMIDGEN_CACHE"];
    world.fails(&["pull", "--plain", "hf:user/repo"], &named);
    world.hub.image("library/tiny:latest").layer("model", bytes.clone());
    world.fails(&["pull", "--plain", "ollama:tiny"], &named);
    world.hub.file("/m.gguf", bytes.clone());
    world.fails(&["pull", "--plain", &world.address("/m.gguf")], &named);
    assert!(world.hub.sent("m-Q4_0.gguf") + world.hub.sent("/m.gguf") + world.hub.sent("/cdn/") < 500);
    // What is small enough, but not with a packed copy.
    world.hub.repository("user/small").file("m-Q4_0.gguf", padded(1, 25)).lfs();
    world.fails(&["pull", "hf:user/small"], &[&cache, "--plain needs half"]);
    let (found, _) = world.pull("hf:user/small");
    assert!(found == padded(1, 25));
    // Without a length it is seen when it is full.
    fs::remove_dir_all(format!("{cache}/models")).unwrap();
    world.hub.fault(Fault::NoLength).on("/m.gguf");
    world.fails(&["pull", "--plain", &world.address("/m.gguf")], &[&cache]);
    assert_eq!(world.left().iter().filter(|path| fs::metadata(path).unwrap().len() > 1 << 20).count(), 0);
}

#[test]
fn a_cache_that_cannot_be_written_is_told() {
    let world = World::serving("m-Q4_0.gguf", &tiny(1));
    let file = world.dir.write("file", "");
    for cache in [file.clone(), format!("{file}/cache")] {
        world.fails_by(
            world.command(&["pull", "hf:user/repo"]).env("SMIDGEN_CACHE", &cache),
            &[&cache, "cannot be written"],
        );
    }
    assert_eq!(world.hub.sent("/cdn/"), 0);
}

#[test]
fn a_size_that_no_disk_has_is_told() {
    let world = World::new();
    world.hub.image("library/tiny:latest").layer("model", tiny(1)).listed_size(1 << 60);
    world.fails(&["pull", "ollama:tiny"], &["ollama:tiny:latest"]);
}
