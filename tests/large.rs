//! A layer of a million entries, from end to end. Takes minutes, so it runs where it is asked for: HOLDALL_LARGE=1.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs,
    reason = "a test fails by panicking, and makes files of its own"
)]

mod stage;

use stage::{Layout, Running, Stage, sh, wait};
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// Files in folders of a thousand each, and as many in one folder alone.
const SPREAD: u32 = 500_000;
const ALONE: u32 = 500_000;

/// A ustar header of a file, or of a folder where it has no length.
fn header(name: &str, size: Option<usize>) -> [u8; 512] {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000755\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", size.unwrap_or(0)).as_bytes());
    header[136..148].copy_from_slice(b"00000000001\0");
    header[156] = if size.is_some() { b'0' } else { b'5' };
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// The layer's tar: every tenth file has a few bytes of its own, the others have none.
fn write_tar(path: &std::path::Path) {
    let mut tar = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut file = |name: &str, n: u32| {
        let bytes = if n % 10 == 0 {
            format!("{n}\n")
        } else {
            String::new()
        };
        tar.write_all(&header(name, Some(bytes.len()))).unwrap();
        if !bytes.is_empty() {
            let mut block = [0; 512];
            block[..bytes.len()].copy_from_slice(bytes.as_bytes());
            tar.write_all(&block).unwrap();
        }
    };
    for n in 0..SPREAD {
        file(&format!("spread/{:03}/{:03}", n / 1000, n % 1000), n);
    }
    for n in 0..ALONE {
        file(&format!("alone/{n:06}"), n);
    }
    tar.write_all(&[0; 1024]).unwrap();
    tar.flush().unwrap();
}

/// Runs a command to its end; the most memory that it had, in MiB, and how long it took.
fn measured(mut command: Command, what: &str) -> u64 {
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(peak_of(child.id()));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(wait(&mut child, Duration::ZERO), 0, "{what}");
    eprintln!("{what}: {:.1} s, peak {peak} MiB", start.elapsed().as_secs_f64());
    peak
}

fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

#[test]
fn a_layer_of_a_million_entries_is_added_shown_and_verified() {
    if std::env::var_os("HOLDALL_LARGE").is_none() {
        eprintln!("SKIPPED: takes minutes and 2 GB; HOLDALL_LARGE=1 asks for it");
        return;
    }
    let stage = Stage::new();
    let tar = stage.path("layer.tar");
    write_tar(&tar);
    let mut layout = Layout::new(stage.path("oci"));
    let gz = stage.path("layer.gz");
    sh(&format!("gzip -n1 <{} >{}", tar.display(), gz.display()));
    let diff_id = sh(&format!("sha256sum {} | cut -d' ' -f1", tar.display()));
    std::fs::remove_file(&tar).unwrap();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", diff_id.trim())]},
    });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
        "layers": [layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", &std::fs::read(&gz).unwrap())],
    });
    let manifest = manifest.to_string();
    let manifest = layout.blob("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    layout.list(manifest, Some("large"));
    stage.init();
    let disk = stage.disk();
    let disk = disk.to_str().unwrap();
    let add = measured(stage.command(["-q", "add", disk, &layout.source()]), "add");
    let verify = measured(stage.command(["-q", "verify", "--full", disk]), "verify --full");

    let at = stage.path("mnt");
    std::fs::create_dir_all(&at).unwrap();
    let mut mounted = Running::start(stage.command(["mount", disk, at.to_str().unwrap()]));
    let rootfs = at.join("images/localhost/oci/large/linux-amd64/rootfs");
    let start = Instant::now();
    let counted = sh(&format!(
        "find {}/ -type f -printf '%s %i\\n' | awk '{{ n++; bytes += $1; if (seen[$2]++) twice++ }} END {{ print n, bytes, twice + 0 }}'",
        rootfs.display()
    ));
    let peak = peak_of(mounted.child.id());
    eprintln!(
        "find: {:.1} s, peak of the mount {peak} MiB",
        start.elapsed().as_secs_f64()
    );
    let bytes: usize = (0..SPREAD)
        .chain(0..ALONE)
        .step_by(10)
        .map(|n| format!("{n}\n").len())
        .sum();
    assert_eq!(counted, format!("{} {bytes} 0\n", SPREAD + ALONE));
    let read = sh(&format!(
        "cat {0}/alone/499990 {0}/spread/123/450",
        rootfs.display()
    ));
    assert_eq!(read, "499990\n123450\n");
    assert_eq!(mounted.stop(), 0);
    assert!(
        add < 1500 && verify < 1500 && peak < 300,
        "{add} {verify} {peak} MiB"
    );
}
