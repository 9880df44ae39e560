//! `sealane backup`, `sealane restore`: the server's store as a file, and back.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;

use super::serve::server_settings;
use crate::client::Ask;
use crate::failure::{Failure, count};
use crate::output;
use crate::settings::Settings;

/// Write everything that the server holds to a file
///
/// The server goes on meanwhile: the file is its state at one revision. It tells of every tenant, and has digests of tokens in
/// it; the keys of the setting `pki` and the audit are not in it. Needs the right to create backups.fabric.sealane.dev at the
/// provider's level, which root of the server's host has.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane backup fabric.backup
  sealane backup - | gzip > fabric.backup.gz
  sealane backup --force nightly.backup      in place of the last one")]
pub(crate) struct Backup {
    /// The file, readable to its owner alone; - for the output
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

impl Backup {
    pub(crate) fn run(&self, settings: &Settings) -> Result<(), Failure> {
        if self.file.as_os_str() == "-" {
            return receive(settings, &mut output::screen());
        }
        if !self.force && self.file.exists() {
            return Err(Failure::usage(
                format!("{} is there already", self.file.display()),
                "name another file, or write over it with --force",
            ));
        }
        let draft = Draft::beside(&self.file);
        let failed = |operation| {
            let path = draft.0.clone();
            move |source| Failure::File { operation, path, source }
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&draft.0).map_err(failed("write"))?;
        let mut out = BufWriter::new(&file);
        receive(settings, &mut out)?;
        out.flush().and_then(|()| file.sync_all()).map_err(failed("write"))?;
        let header = check(&draft.0)?;
        std::fs::rename(&draft.0, &self.file).map_err(failed("rename"))?;
        writeln!(
            output::screen(),
            "{}: {} as of revision {}",
            self.file.display(),
            count(header.objects as usize, "object"),
            header.revision
        )?;
        Ok(())
    }
}

/// Make the server's store anew from a backup
///
/// The server must not run. A store that is there is a reason to refuse; with --force it is put aside under another name. Nothing
/// changes before the whole backup has been read and found in order. The server then listens for 15 seconds when it starts:
/// nodes go on with what they hold, and tell what they use. Containers are not disturbed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sealane restore fabric.backup              into the store that /etc/sealane/server.toml names
  sealane restore fabric.backup --force      put aside the store that is there
  sealane restore fabric.backup --check      only tell whether the file is in order, and of when it is")]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The server's settings, for its `store` [default: /etc/sealane/server.toml if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Put aside a store that is there
    #[arg(long)]
    force: bool,

    /// Only read the backup
    #[arg(long, conflicts_with_all = ["config", "force"])]
    check: bool,
}

impl Restore {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut out = output::screen();
        if self.check {
            return tell(&mut out, &self.file, &check(&self.file)?);
        }
        let config = server_settings(self.config.clone())?;
        if let Some(folder) = config.store.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let failed =
                |source| Failure::File { operation: "make the folder", path: folder.to_owned(), source };
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let restored = fleet::restore(open(&self.file)?, &config, self.force)
            .map_err(|source| Failure::Restore { file: self.file.clone(), source: Box::new(source) })?;
        tell(&mut out, &self.file, &restored.header)?;
        writeln!(out, "restored to {}", config.store.display())?;
        if let Some(kept) = restored.kept {
            writeln!(out, "the store that was there is now {}", kept.display())?;
        }
        Ok(())
    }
}

fn tell(out: &mut dyn Write, file: &Path, header: &fleet::BackupHeader) -> Result<(), Failure> {
    Ok(writeln!(
        out,
        "{}: in order, {} as of revision {}, taken {} by release {}",
        file.display(),
        count(header.objects as usize, "object"),
        header.revision,
        header.taken,
        header.release
    )?)
}

fn check(file: &Path) -> Result<fleet::BackupHeader, Failure> {
    let failed = |source| Failure::Backup { file: file.to_owned(), source };
    fleet::check(open(file)?).map_err(failed)
}

fn open(file: &Path) -> Result<BufReader<File>, Failure> {
    let failed = |source| Failure::File { operation: "read", path: file.to_owned(), source };
    File::open(file).map(BufReader::new).map_err(failed)
}

/// Takes the server's lines over as they come. What ends before its last line is a fault, whatever the connection says.
fn receive(settings: &Settings, out: &mut dyn Write) -> Result<(), Failure> {
    let client = settings.client()?;
    let mut lines = client.follow(&Ask::act(Method::POST, PATH.to_owned(), None))?;
    let mut whole = false;
    while let Some(line) = lines.next()? {
        whole = line.starts_with(LAST);
        out.write_all(&line)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    if whole {
        return Ok(());
    }
    let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended before the backup did");
    Err(Failure::Output(cut))
}

/// A file that is gone with this value, unless it was given another name.
struct Draft(PathBuf);

impl Draft {
    fn beside(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        Self(name.into())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is not there any more when all went well.
        let _ = std::fs::remove_file(&self.0);
    }
}

const PATH: &str = "/fabric/v1/backup";
/// How the last line begins.
const LAST: &[u8] = b"{\"end\":";
