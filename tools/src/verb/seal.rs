//! `holdall seal`: finish a generation, read it back from the device, and sign it.

use crate::believe::{now, seen};
use crate::exit::{Exit, ToolError};
use crate::output::{self, Output, bytes, one_line, plural};
use crate::progress::Progress;
use crate::signing::Key;
use crate::{policy, signal, state};
use holdall::generation::{self, Current};
use holdall::ids::PageHash;
use holdall::medium::{DirectoryMedium, Medium};
use holdall::name::SignerName;
use holdall::node::{Seen, SeenFolder, Sight};
use holdall::seal::{self, Sealing, Signing};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "What is sealed is finished: it gets the next serial of its series, is read back from the device, and only then signed. An `add` \
afterwards makes an open generation again, which a policy refuses.

Keys are OpenSSH's: ed25519, ECDSA and RSA. A public key's file stands for the private part in the ssh-agent; for a key under a passphrase and for FIDO keys \
ssh-keygen is called, which asks.

Stock OpenSSH checks a signature:
  ssh-keygen -Y verify -f allowed_signers -I alice@example.org -n holdall-root@v1 \\
      -s DISK/generations/NNNNNN/ROOT.alice.sig < DISK/generations/NNNNNN/ROOT"
)]
pub struct Args {
    /// The disk
    medium: PathBuf,
    /// Sign with this key; may be given several times
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// What the signature's file is named by, with a single --key [the key's comment]
    #[arg(long, value_name = "NAME", value_parser = SignerName::parse)]
    signer: Option<SignerName>,
    /// The serial [the next one of the series, as this host knows it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    serial: Option<u64>,
    /// The epoch, which counts changes of the series' signers [as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    epoch: Option<u64>,
    /// When it should no longer be used: 2027-01-31, or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = policy::time)]
    expires: Option<i64>,
    /// The root that the disk must have before it is sealed: what the last add said
    #[arg(long, value_name = "HASH", value_parser = PageHash::from_hex)]
    root: Option<PageHash>,
    /// Do not read the disk back before it is signed: what the device lost is then signed too. Custody says so
    #[arg(long)]
    no_readback: bool,
    /// Say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// A key, and the name of its signature.
type Named = (Key, SignerName);

/// Runs the verb.
pub fn run(args: &Args, output: &Output, asked_state: Option<PathBuf>) -> Result<Exit, ToolError> {
    if args.signer.is_some() && args.keys.len() != 1 {
        return Err(ToolError::Usage(
            "--signer names one signature: give it with one --key".to_owned(),
        ));
    }
    let interrupted = signal::interrupted()?;
    // Before anything is written: a key that cannot sign must not leave a sealed disk without a signature.
    let keys = named_keys(&args.keys, args.signer)?;
    let medium: Arc<dyn Medium> = Arc::new(DirectoryMedium::open(&args.medium)?);
    let _lock = medium.lock()?;
    let before = generation::current(medium.as_ref(), None)?;
    is_root(args.root, &before)?;
    seal::may_seal(medium.as_ref(), &before)?;
    if let Some(expires) = args.expires.filter(|at| *at <= now()) {
        return Err(ToolError::Refused(format!(
            "--expires {}: that is past, and no policy would accept this disk",
            output::time(expires)
        )));
    }
    for ((key, _), path) in keys.iter().zip(&args.keys) {
        key.try_out()
            .map_err(|e| ToolError::Refused(format!("{}: {e}; nothing was sealed", path.display())))?;
    }
    let folder = SeenFolder::sealed(&state::folder(asked_state)?);
    let serial = if args.dry_run {
        serial_of(
            args,
            &before,
            &folder.look(&before.root.origin, &before.root.series),
            output,
        )?
    } else {
        reserve(args, &before, &folder, output)?
    };
    let sealing = Sealing {
        serial,
        epoch: args.epoch.unwrap_or(before.root.epoch),
        expires: args.expires,
        time: now(),
        readback: !args.no_readback,
        witness: state::witness(),
    };
    if args.dry_run {
        return planned(args, &before, &sealing, &keys, output);
    }
    let sealed = seal::seal(&medium, &before, &sealing, &interrupted)?;
    note_sealed(&folder, &sealed.current)?;
    let unsigned = |e: ToolError| ToolError::Unsigned {
        generation: sealed.current.root.generation.get(),
        error: Box::new(e),
    };
    let read = sign_all(
        &args.medium,
        &medium,
        &sealed.current,
        &keys,
        !args.no_readback,
        &interrupted,
        output,
    )
    .map_err(unsigned)?;
    let root = &sealed.current.root;
    if sealed.unnamed_files > 0 {
        output.warn(&format!(
            "{} can be proven only with the disk at hand: the path is longer than 1024 bytes, or not UTF-8",
            plural(sealed.unnamed_files, "loose file")
        ));
    }
    output.line(format!(
        "sealed generation {} of {}: origin {}, series {}, epoch {}, serial {}",
        root.generation,
        args.medium.display(),
        one_line(&root.origin),
        one_line(&root.series),
        root.epoch,
        root.serial
    ))?;
    output.line(format!(
        "root {}: {}",
        sealed.current.root_hash,
        signed_by(&keys, read)
    ))?;
    let mut result = output::generation(root, sealed.current.root_hash);
    if let Some(object) = result.as_object_mut() {
        object.insert("origin".to_owned(), json!(root.origin));
        object.insert("series".to_owned(), json!(root.series));
        object.insert("epoch".to_owned(), json!(root.epoch));
        object.insert("serial".to_owned(), json!(root.serial));
        object.insert("files".to_owned(), json!(sealed.files));
        object.insert("unnamed_files".to_owned(), json!(sealed.unnamed_files));
        object.insert("read_back_bytes".to_owned(), json!(read));
        object.insert(
            "signers".to_owned(),
            json!(keys.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>()),
        );
    }
    output.result(&result)?;
    Ok(Exit::Done)
}

/// What was done, in a line.
pub fn signed_by(keys: &[Named], read: Option<u64>) -> String {
    let names: Vec<&str> = keys.iter().map(|(_, name)| name.as_str()).collect();
    let read = read.map_or("not read back".to_owned(), |n| format!("{} read back", bytes(n)));
    format!("{read}, signed by {}", names.join(", "))
}

/// Reads keys, and names their signatures.
pub fn named_keys(paths: &[PathBuf], signer: Option<SignerName>) -> Result<Vec<Named>, ToolError> {
    let mut keys: Vec<Named> = Vec::new();
    for path in paths {
        let key = Key::read(path)?;
        let name = match signer {
            Some(name) => name,
            None => key.signer()?,
        };
        if keys.iter().any(|(_, other)| *other == name) {
            return Err(ToolError::Usage(format!(
                "two keys whose signatures would be named {name}: sign with one after the other, and --signer"
            )));
        }
        keys.push((key, name));
    }
    Ok(keys)
}

/// Refuses a disk whose root is not the one that was named.
pub fn is_root(named: Option<PageHash>, current: &Current) -> Result<(), ToolError> {
    match named {
        Some(root) if root != current.root_hash => Err(ToolError::Refused(format!(
            "the disk's root is {}, not {root}: it is not the one that --root names",
            current.root_hash
        ))),
        _ => Ok(()),
    }
}

/// Takes the next serial of the series, so that no other disk gets it: it is used up from here on, whatever becomes of the rest.
fn reserve(args: &Args, before: &Current, folder: &SeenFolder, output: &Output) -> Result<u64, ToolError> {
    let root = &before.root;
    if !folder.is_begun() {
        folder.begin()?;
    }
    let mut serial = 0;
    folder.update::<ToolError>(&root.origin, &root.series, |sight| {
        serial = serial_of(args, before, sight, output)?;
        let epoch = match sight {
            Sight::Seen(seen) => seen.epoch,
            Sight::NoRecord | Sight::New | Sight::Bad(_) => 1,
        };
        Ok(Seen {
            origin: root.origin.clone(),
            series: root.series.clone(),
            epoch: args.epoch.unwrap_or(root.epoch).max(epoch),
            serial,
            root: None,
        })
    })?;
    Ok(serial)
}

/// Notes the root that got its serial; where another disk has got a higher one since, that stays.
fn note_sealed(folder: &SeenFolder, sealed: &Current) -> Result<(), ToolError> {
    let root = &sealed.root;
    folder.update::<ToolError>(&root.origin, &root.series, |sight| match sight {
        Sight::Seen(other) if other.serial > root.serial => Ok(other.clone()),
        _ => Ok(seen(root, sealed.root_hash)),
    })
}

/// The serial to seal with; says so where this host does not know the series.
fn serial_of(args: &Args, before: &Current, sight: &Sight, output: &Output) -> Result<u64, ToolError> {
    let root = &before.root;
    let (last, known) = match sight {
        Sight::Seen(seen) => {
            let epoch = args.epoch.unwrap_or(root.epoch);
            if epoch < seen.epoch {
                return Err(ToolError::Refused(format!(
                    "epoch {epoch}, where this host has sealed epoch {} of the same series; give --epoch {} or more",
                    seen.epoch, seen.epoch
                )));
            }
            (seen.serial, true)
        }
        Sight::NoRecord | Sight::New => (0, false),
        Sight::Bad(why) if args.serial.is_some() => (0, !why.is_empty()),
        Sight::Bad(why) => {
            return Err(ToolError::Refused(format!(
                "{why}. Give the next serial of the series with --serial"
            )));
        }
    };
    let least = last.max(root.serial) + 1;
    let serial = match args.serial {
        Some(serial) if serial < least => {
            return Err(ToolError::Refused(format!(
                "serial {serial} is used up: this disk is at {}, and this host has sealed {last}; {least} is the next",
                root.serial
            )));
        }
        Some(serial) => return Ok(serial),
        None => least,
    };
    if !known {
        output.note(format!(
            "this host has sealed nothing of series {:?} of {:?} yet: it gets serial {serial}. If another host has, give the next one with --serial",
            root.series, root.origin
        ));
    }
    Ok(serial)
}

fn planned(
    args: &Args,
    before: &Current,
    sealing: &Sealing,
    keys: &[Named],
    output: &Output,
) -> Result<Exit, ToolError> {
    let names: Vec<&str> = keys.iter().map(|(_, name)| name.as_str()).collect();
    output.line(format!(
        "would seal what generation {} of {} has: epoch {}, serial {}, signed by {}{}",
        before.root.generation,
        args.medium.display(),
        sealing.epoch,
        sealing.serial,
        names.join(", "),
        if args.no_readback {
            ", without reading it back"
        } else {
            ""
        },
    ))?;
    output.result(
        &json!({ "dry_run": true, "epoch": sealing.epoch, "serial": sealing.serial, "signers": names }),
    )?;
    Ok(Exit::Done)
}

/// Reads a sealed generation back, signs it with each key, and reads the signatures back. The bytes of the packs that were read, where they were.
pub fn sign_all(
    path: &Path,
    medium: &Arc<dyn Medium>,
    current: &Current,
    keys: &[Named],
    readback: bool,
    interrupted: &Arc<AtomicBool>,
    output: &Output,
) -> Result<Option<u64>, ToolError> {
    let fresh: Arc<dyn Medium> = Arc::new(DirectoryMedium::open_past_caches(path)?);
    let read = if readback {
        Some(read_back(&fresh, current, interrupted, output)?)
    } else {
        None
    };
    let witness = state::witness();
    for (key, signer) in keys {
        let armored = key.sign(&current.root.encode())?;
        let signing = Signing {
            witness: &witness,
            time: now(),
            readback,
        };
        seal::attach(medium, &fresh, current, *signer, &armored, &signing)?;
    }
    Ok(read)
}

/// Reads a generation back from the device.
pub fn read_back(
    fresh: &Arc<dyn Medium>,
    current: &Current,
    interrupted: &Arc<AtomicBool>,
    output: &Output,
) -> Result<u64, ToolError> {
    let progress = Progress::new(*output, "read back");
    let report = seal::read_back(fresh, current, &progress, interrupted);
    progress.finish();
    Ok(report.map_err(ToolError::Disk)?.stored_bytes)
}
