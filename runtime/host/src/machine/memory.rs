//! How much memory there is: the machine's, and what the limits of control groups leave of it (Linux).
//!
//! A container's limit is in none of the machine's own numbers, and a process that goes over it is killed. So the least counts, of the machine
//! and of each group that the process is in, with those above it: cgroup v2 (`memory.max`, `memory.current`) and v1 (`memory.limit_in_bytes`,
//! `memory.usage_in_bytes`), found by `/proc/self/cgroup` and `/proc/self/mountinfo`. Pages of files that nobody used lately are given back
//! when memory is short, so they count as free.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The most bytes of a file of the system that are read.
const MOST_BYTES: u64 = 1 << 20;

/// Bytes that this process can still allocate, about, without the system swapping or ending it; none where that is not known.
pub fn free_memory() -> Option<u64> {
    memory_in(Path::new("/")).and_then(|memory| memory.free)
}

/// Bytes of memory that this process could have at most: the machine's, or the limit of its control group.
pub fn total_memory() -> Option<u64> {
    memory_in(Path::new("/")).map(|memory| memory.total).or_else(physical)
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    free: Option<u64>,
    total: u64,
}

/// What the files of the system say that are below `root`.
fn memory_in(root: &Path) -> Option<Memory> {
    let meminfo = text(&root.join("proc/meminfo"))?;
    let mut memory = Memory { free: field(&meminfo, "MemAvailable:"), total: field(&meminfo, "MemTotal:")? };
    let groups = text(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = text(&root.join("proc/self/mountinfo")).unwrap_or_default();
    for (version, mount, group) in groups_of(&groups, &mounts) {
        // A group, and those above it up to the root of what is mounted.
        let mut group = group.as_path();
        loop {
            if let Some((limit, used)) = group_memory(&in_root(root, &mount).join(group), version) {
                memory.total = memory.total.min(limit);
                memory.free = memory.free.map(|free| free.min(limit.saturating_sub(used)));
            }
            match group.parent() {
                Some(parent) => group = parent,
                None => break,
            }
        }
    }
    Some(memory)
}

/// A version of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A group's limit and what is used of it, without pages of files that nobody used lately; none without a limit.
fn group_memory(group: &Path, version: Version) -> Option<(u64, u64)> {
    let (limit, usage, inactive) = match version {
        Version::V2 => ("memory.max", "memory.current", "inactive_file"),
        Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    };
    let number = |name: &str| text(&group.join(name))?.trim().parse::<u64>().ok();
    let limit = number(limit)?;
    let stat = text(&group.join("memory.stat")).unwrap_or_default();
    let stat = stat.lines().find_map(|line| line.strip_prefix(inactive)?.strip_prefix(' ')?.trim().parse().ok());
    Some((limit, number(usage)?.saturating_sub(stat.unwrap_or(0))))
}

/// Where the hierarchies with a limit of memory are mounted, and the process's group in each, relative to that.
fn groups_of(groups: &str, mounts: &str) -> Vec<(Version, PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let version = match controllers {
            "" => Version::V2,
            _ if controllers.split(',').any(|name| name == "memory") => Version::V1,
            _ => continue,
        };
        let mount = mounts.lines().filter_map(mount_of).find(|mount| match version {
            Version::V2 => mount.kind == "cgroup2",
            Version::V1 => mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory"),
        });
        let Some(mount) = mount else { continue };
        // A container may see its own group as the root of the mount, under its name outside.
        let path = Path::new(path);
        let inside = path.strip_prefix(&mount.root).or_else(|_| path.strip_prefix("/")).unwrap_or(Path::new(""));
        let stays = inside.components().all(|part| matches!(part, Component::Normal(_)));
        found.push((version, mount.place, if stays { inside.to_owned() } else { PathBuf::new() }));
    }
    found
}

/// A line of `mountinfo`.
struct Mount<'t> {
    /// What of the file system is mounted.
    root: PathBuf,
    place: PathBuf,
    kind: &'t str,
    options: &'t str,
}

fn mount_of(line: &str) -> Option<Mount<'_>> {
    let (own, system) = line.split_once(" - ")?;
    let mut own = own.split(' ').skip(3);
    let (root, place) = (own.next()?, own.next()?);
    let mut system = system.split(' ');
    let (kind, _source, options) = (system.next()?, system.next()?, system.next()?);
    Some(Mount { root: unescaped(root).into(), place: unescaped(place).into(), kind, options })
}

/// A path of `mountinfo`, which has `\040` for a space.
fn unescaped(text: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"].iter().fold(text.to_owned(), |text, pair| {
        let (escape, character) = pair.split_at(4);
        text.replace(escape, character)
    })
}

/// An absolute path below another root.
fn in_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The bytes of a line `name  123 kB` of `meminfo`.
fn field(text: &str, name: &str) -> Option<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix(name))?;
    number.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A small file's text.
fn text(path: &Path) -> Option<String> {
    // A pipe would be waited for.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The machine's memory, as POSIX systems tell it.
fn physical() -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: both calls only return a number.
        let (pages, bytes) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        u64::try_from(pages).ok()?.checked_mul(u64::try_from(bytes).ok()?)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a system, in a folder that lasts as long as the test.
    struct System(PathBuf);

    impl System {
        fn new(name: &str, files: &[(&str, &str)]) -> System {
            let root = std::env::temp_dir().join(format!("smidgen-memory-{}-{name}", std::process::id()));
            let system = System(root);
            system.write("proc/meminfo", "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    8000 kB\n");
            files.iter().for_each(|(path, text)| system.write(path, text));
            system
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Free and total, in KiB.
        fn memory(&self) -> (u64, u64) {
            let memory = memory_in(&self.0).unwrap();
            (memory.free.unwrap() / 1024, memory.total / 1024)
        }
    }

    impl Drop for System {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const V2: &str = "26 25 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn without_limits_it_is_the_machines() {
        assert_eq!(System::new("none", &[]).memory(), (8000, 16000));
        let system = System::new("max", &[("proc/self/cgroup", "0::/a\n"), ("proc/self/mountinfo", V2)]);
        assert_eq!(system.memory(), (8000, 16000));
        system.write("sys/fs/cgroup/a/memory.max", "max\n");
        system.write("sys/fs/cgroup/a/memory.current", "1024\n");
        assert_eq!(system.memory(), (8000, 16000));
        // An old kernel says nothing of what is available.
        system.write("proc/meminfo", "MemTotal: 16000 kB\n");
        assert_eq!(memory_in(&system.0), Some(Memory { free: None, total: 16000 * 1024 }));
        for text in ["", "MemTotal: x kB\n", "MemTotal: 99999999999999999999 kB\n", "MemTotal: 1\n"] {
            system.write("proc/meminfo", text);
            assert_eq!(memory_in(&system.0), None, "{text}");
        }
    }

    #[test]
    fn the_least_of_a_group_and_those_above_it() {
        let files = [("proc/self/cgroup", "0::/a/b/c\n"), ("proc/self/mountinfo", V2)];
        let system = System::new("v2", &files);
        let group = |group: &str, max: &str, current: u64, inactive: u64| {
            system.write(&format!("sys/fs/cgroup/{group}memory.max"), max);
            system.write(&format!("sys/fs/cgroup/{group}memory.current"), &format!("{}\n", current * 1024));
            let stat = format!("anon 1\ninactive_file {}\ninactive_file_x 7\nactive_file 9\n", inactive * 1024);
            system.write(&format!("sys/fs/cgroup/{group}memory.stat"), &stat);
        };
        group("a/b/c/", "max\n", 100, 10);
        assert_eq!(system.memory(), (8000, 16000));
        group("a/b/c/", &format!("{}\n", 4000 * 1024), 1000, 300);
        assert_eq!(system.memory(), (3300, 4000));
        group("a/", &format!("{}\n", 3000 * 1024), 2500, 200);
        assert_eq!(system.memory(), (700, 3000));
        group("", &format!("{}\n", 2900 * 1024), 2900, 0);
        assert_eq!(system.memory(), (0, 2900));
        // More is used than is allowed, and more is inactive than is used.
        group("", &format!("{}\n", 2900 * 1024), 3000, 5000);
        assert_eq!(system.memory(), (700, 2900));
        // Without a statistic nothing counts as inactive.
        fs::remove_file(system.0.join("sys/fs/cgroup/a/memory.stat")).unwrap();
        assert_eq!(system.memory(), (500, 2900));
    }

    #[test]
    fn the_first_version() {
        let system = System::new("v1", &[("proc/self/mountinfo", V1)]);
        system.write("proc/self/cgroup", "9:name=systemd:/\n4:hugetlb,memory:/x/y\n1:cpu:/\n0::/\n");
        system.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        system.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n");
        assert_eq!(system.memory(), (8000, 16000));
        system.write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", &(6000 * 1024).to_string());
        system.write("sys/fs/cgroup/memory/x/memory.usage_in_bytes", &(2000 * 1024).to_string());
        system.write(
            "sys/fs/cgroup/memory/x/memory.stat",
            &format!("inactive_file 5\ntotal_inactive_file {}\n", 500 * 1024),
        );
        assert_eq!(system.memory(), (4500, 6000));
    }

    #[test]
    fn containers_see_their_group_where_it_is_not() {
        // The mount is of the group itself, as in Docker without a namespace of groups; one with a space in its name; one above the root.
        let mount = "35 31 0:32 /docker/0ab /sys/fs/my\\040group rw - cgroup2 cgroup2 rw\n";
        for path in ["/docker/0ab", "/../../docker"] {
            let system = System::new("root", &[("proc/self/mountinfo", mount)]);
            system.write("proc/self/cgroup", &format!("0::{path}\n"));
            system.write("sys/fs/my group/memory.max", &(1000 * 1024).to_string());
            system.write("sys/fs/my group/memory.current", "0");
            assert_eq!(system.memory(), (1000, 1000), "{path}");
        }
        for text in ["", "x\n", "0::\n", "::\n", "0:memory\n", "\u{1b}\n"] {
            let system = System::new("odd", &[("proc/self/mountinfo", "x - y\n - \n1 2 3 4 5 - cgroup2\n")]);
            system.write("proc/self/cgroup", text);
            assert_eq!(system.memory(), (8000, 16000));
        }
    }

    #[test]
    fn this_machine() {
        if cfg!(target_os = "linux") {
            let (free, total) = (free_memory().unwrap(), total_memory().unwrap());
            assert!(free <= total && total <= physical().unwrap(), "{free} {total}");
            assert!(total > 1 << 24);
        }
        assert!(!cfg!(unix) || physical().is_some());
    }
}
