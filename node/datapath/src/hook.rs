//! Programs on devices.
//!
//! A hook is pinned at `PIN_DIR/links/NAME` (TCX), or is the kernel's own (clsact). Promises: a hook that is there gets the new
//! program in one step, so no packet passes between the old one and the new; a hook whose device has gone is made anew; a hook
//! not yet pinned goes with the process.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::config::HookKind;
use crate::error::Error;

/// On which side of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ingress,
    Egress,
}

/// Where the hooks of one pin directory are.
#[derive(Debug)]
pub(crate) struct Hooks {
    directory: PathBuf,
    kind: HookKind,
}

impl Hooks {
    pub(crate) fn open(pin_dir: &Path, kind: Option<HookKind>) -> Result<Self, Error> {
        let directory = pin_dir.join("links");
        std::fs::create_dir_all(&directory).map_err(|source| Error::pin("create", &directory, source))?;
        Ok(Self { directory, kind: kind.unwrap_or_else(probe) })
    }

    /// Hangs the program on the device, or puts it in the place of what hangs there under this name.
    pub(crate) fn attach(&self, name: &str, program: RawFd, device: u32, side: Side) -> Result<(), Error> {
        match self.kind {
            HookKind::Tcx => self.attach_tcx(name, program, device, side),
            HookKind::Clsact => attach_clsact(name, program, device, side),
        }
    }

    /// Takes off what hangs under this name; nothing there is no error.
    pub(crate) fn detach(&self, name: &str, device: u32, side: Side) -> Result<(), Error> {
        match self.kind {
            HookKind::Tcx => {
                if let Some(link) = open_link(&self.directory.join(name))? {
                    // The kernel closes an unpinned link in its own time; the program is to be off at the return.
                    // SAFETY: the descriptor is open.
                    let result = unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) };
                    checked("take the program off", name, result)?;
                }
                self.unpin(name)
            }
            HookKind::Clsact => detach_clsact(name, device, side),
        }
    }

    /// The names of the pinned hooks.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let listed = |source| Error::pin("list", &self.directory, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(listed)? {
            names.push(entry.map_err(listed)?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    pub(crate) fn unpin(&self, name: &str) -> Result<(), Error> {
        let path = self.directory.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::pin("remove", path, source))
            }
            _ => Ok(()),
        }
    }

    fn attach_tcx(&self, name: &str, program: RawFd, device: u32, side: Side) -> Result<(), Error> {
        let kind = match side {
            Side::Ingress => libbpf_sys::BPF_TCX_INGRESS,
            Side::Egress => libbpf_sys::BPF_TCX_EGRESS,
        };
        self.attach_link(name, program, (device_number(name, device)?, kind), |link| {
            let info = link_info(link, name)?;
            // SAFETY: the kernel fills the `tcx` member for a link of that type; of another type the number means no device of
            // ours. It is 0 where the device has gone.
            Ok(unsafe { info.__bindgen_anon_1.tcx.ifindex } == device)
        })
    }

    /// Gives the link that is pinned under this name the program, if `is_there` says that it hangs at the target, a
    /// device or a cgroup; else makes one and pins it.
    pub(crate) fn attach_link(
        &self,
        name: &str,
        program: RawFd,
        (target, kind): (RawFd, libbpf_sys::bpf_attach_type),
        is_there: impl Fn(&OwnedFd) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let path = self.directory.join(name);
        if let Some(link) = open_link(&path)? {
            if is_there(&link)? {
                // SAFETY: both descriptors are open; no options are passed.
                let result = unsafe { libbpf_sys::bpf_link_update(link.as_raw_fd(), program, ptr::null()) };
                return checked("replace the program of", name, result).map(drop);
            }
            self.unpin(name)?;
        }
        // SAFETY: the program's descriptor is open; no options are passed.
        let created = unsafe { libbpf_sys::bpf_link_create(program, target, kind, ptr::null()) };
        let created = checked("hang a program on", name, created)?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let link = unsafe { OwnedFd::from_raw_fd(created) };
        let text = path_text(&path)?;
        // SAFETY: `text` is a string that ends with a zero and outlives the call.
        let pinned = unsafe { libbpf_sys::bpf_obj_pin(link.as_raw_fd(), text.as_ptr()) };
        checked("pin the link of", name, pinned).map(drop)
    }
}

/// Instructions that the verifier went through for a program. Its limit is a million.
pub(crate) fn verified_instructions(name: &str, program: RawFd) -> Result<u32, Error> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: `info` has room for `length` bytes, and asks for no array.
    let result = unsafe { libbpf_sys::bpf_prog_get_info_by_fd(program, &raw mut info, &raw mut length) };
    checked("describe", name, result)?;
    Ok(info.verified_insns)
}

fn open_link(path: &Path) -> Result<Option<OwnedFd>, Error> {
    let text = path_text(path)?;
    // SAFETY: `text` is a string that ends with a zero and outlives the call.
    let result = unsafe { libbpf_sys::bpf_obj_get(text.as_ptr()) };
    match checked("open", &path.display().to_string(), result) {
        // SAFETY: the kernel has just given this descriptor to us alone.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the kernel says of a link.
pub(crate) fn link_info(link: &OwnedFd, name: &str) -> Result<libbpf_sys::bpf_link_info, Error> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: `info` has room for `length` bytes, and the kernel writes no more.
    let result =
        unsafe { libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut length) };
    checked("describe the link of", name, result)?;
    Ok(info)
}

/// TCX came with kernel 6.6; an older one does not know the attach type. Asked of the loopback device, which is everywhere.
fn probe() -> HookKind {
    let mut options = libbpf_sys::bpf_prog_query_opts {
        sz: size_of::<libbpf_sys::bpf_prog_query_opts>() as libbpf_sys::size_t,
        ..Default::default()
    };
    // SAFETY: the options ask for no array of programs, so the kernel writes into the options alone.
    let result = unsafe { libbpf_sys::bpf_prog_query_opts(1, libbpf_sys::BPF_TCX_INGRESS, &raw mut options) };
    let unknown =
        result == -(nix::errno::Errno::EINVAL as i32) || result == -(nix::errno::Errno::EOPNOTSUPP as i32);
    if unknown { HookKind::Clsact } else { HookKind::Tcx }
}

fn clsact_hook(device: u32, name: &str, side: Side) -> Result<libbpf_sys::bpf_tc_hook, Error> {
    Ok(libbpf_sys::bpf_tc_hook {
        sz: size_of::<libbpf_sys::bpf_tc_hook>() as libbpf_sys::size_t,
        ifindex: device_number(name, device)?,
        attach_point: match side {
            Side::Ingress => libbpf_sys::BPF_TC_INGRESS,
            Side::Egress => libbpf_sys::BPF_TC_EGRESS,
        },
        ..Default::default()
    })
}

fn clsact_options() -> libbpf_sys::bpf_tc_opts {
    libbpf_sys::bpf_tc_opts {
        sz: size_of::<libbpf_sys::bpf_tc_opts>() as libbpf_sys::size_t,
        handle: CLSACT_HANDLE,
        priority: 1,
        ..Default::default()
    }
}

fn attach_clsact(name: &str, program: RawFd, device: u32, side: Side) -> Result<(), Error> {
    let mut hook = clsact_hook(device, name, side)?;
    let made = make_clsact(&mut hook);
    if made != -(nix::errno::Errno::EEXIST as i32) {
        checked("make the clsact qdisc of", name, made)?;
    }
    let mut options = clsact_options();
    options.prog_fd = program;
    options.flags = libbpf_sys::BPF_TC_F_REPLACE;
    // SAFETY: both are whole structures of the sizes that they state; the program's descriptor is open.
    let result = unsafe { libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut options) };
    checked("hang a program on", name, result).map(drop)
}

/// Makes the qdisc; the kernel's number for a fault, as where the device has it already. The library would print that one, which
/// comes with every second program of a device.
fn make_clsact(hook: &mut libbpf_sys::bpf_tc_hook) -> i32 {
    // SAFETY: nothing is handed over but the wish to print nothing; the printer that was in use comes back.
    let printer = unsafe { libbpf_sys::libbpf_set_print(None) };
    // SAFETY: `hook` is a whole structure of the size that it states.
    let made = unsafe { libbpf_sys::bpf_tc_hook_create(hook) };
    // SAFETY: `printer` is what the library itself had.
    unsafe { libbpf_sys::libbpf_set_print(printer) };
    made
}

fn detach_clsact(name: &str, device: u32, side: Side) -> Result<(), Error> {
    let hook = clsact_hook(device, name, side)?;
    let options = clsact_options();
    // SAFETY: both are whole structures of the sizes that they state.
    let result = unsafe { libbpf_sys::bpf_tc_detach(&raw const hook, &raw const options) };
    match checked("take the program off", name, result) {
        Err(error) if error.is_absent() || error.is_invalid() => Ok(()),
        outcome => outcome.map(drop),
    }
}

fn device_number(name: &str, device: u32) -> Result<i32, Error> {
    i32::try_from(device).map_err(|_| Error::Unfit { what: format!("ifindex {device} of {name}") })
}

fn path_text(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes()).map_err(|source| Error::pin("name", path, source.into()))
}

fn checked(operation: &'static str, object: &str, result: i32) -> Result<i32, Error> {
    if result >= 0 { Ok(result) } else { Err(Error::hook(operation, object, result)) }
}

/// Ours among the filters of a device.
const CLSACT_HANDLE: u32 = 0x5ea1;
