//! Test run gives a program no tunnel. The program here puts one on the frame, as the VXLAN device would, and jumps into the
//! program under test. It is a few instructions, so that no compiler is asked.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;

/// The program and the place of the one that it jumps into.
pub(crate) struct Tunnel {
    pub(crate) program: OwnedFd,
    _under_test: OwnedFd,
}

/// What it reads from the context's `cb`: the network, the outer source (IPv4, host order) and the group of the tag.
pub(crate) type Tag = [u32; 3];

impl Tunnel {
    /// One that jumps into this program.
    pub(crate) fn into(program: &OwnedFd) -> Self {
        let kind = libbpf_sys::BPF_MAP_TYPE_PROG_ARRAY;
        // SAFETY: the name is a C string, and no options are passed.
        let map = unsafe { libbpf_sys::bpf_map_create(kind, c"under_test".as_ptr(), 4, 4, 1, ptr::null()) };
        assert!(map >= 0, "make a program array: {map}");
        // SAFETY: the kernel has just given this descriptor to us alone.
        let map = unsafe { OwnedFd::from_raw_fd(map) };
        let (key, value) = (0u32, program.as_raw_fd());
        // SAFETY: key and value have the sizes that the map was made with.
        let put = unsafe {
            libbpf_sys::bpf_map_update_elem(
                map.as_raw_fd(),
                (&raw const key).cast(),
                (&raw const value).cast(),
                0,
            )
        };
        assert_eq!(put, 0, "put the program into the array");
        let code = instructions(map.as_raw_fd());
        // SAFETY: a `bpf_insn` is the eight bytes of which `code` has as many as are told; the names are C strings.
        let loaded = unsafe {
            libbpf_sys::bpf_prog_load(
                libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
                c"tunnel".as_ptr(),
                c"Dual BSD/GPL".as_ptr(),
                code.as_ptr().cast(),
                code.len() as libbpf_sys::size_t,
                ptr::null_mut(),
            )
        };
        assert!(loaded >= 0, "load the tunnel: {loaded}");
        // SAFETY: the kernel has just given this descriptor to us alone.
        Self { program: unsafe { OwnedFd::from_raw_fd(loaded) }, _under_test: map }
    }
}

/// On the stack: a `struct bpf_tunnel_key` of 44 bytes at -48, the group at -56. The key's fields: `tunnel_id` at 0,
/// `remote_ipv4` at 4, `local_ipv4` at 28. Reading a tunnel's remote gives the outer source, which is what setting calls local.
fn instructions(map: i32) -> Vec<u64> {
    let zeros = (0..6).map(|word| insn(STORE_WORD64, FRAME, 0, -48 + 8 * word, 0));
    let tunnel = [
        insn(LOAD_WORD, 1, CONTEXT, CB, 0),
        insn(STORE_REGISTER, FRAME, 1, -48, 0),
        insn(STORE_WORD, FRAME, 0, -44, LOOPBACK),
        insn(LOAD_WORD, 1, CONTEXT, CB + 4, 0),
        insn(STORE_REGISTER, FRAME, 1, -20, 0),
        insn(MOVE, 1, CONTEXT, 0, 0),
        insn(MOVE, 2, FRAME, 0, 0),
        insn(ADD_NUMBER, 2, 0, 0, -48),
        insn(MOVE_NUMBER, 3, 0, 0, 44),
        insn(MOVE_NUMBER, 4, 0, 0, 0),
        insn(CALL, 0, 0, 0, SET_TUNNEL_KEY),
        insn(LOAD_WORD, 1, CONTEXT, CB + 8, 0),
        insn(STORE_REGISTER, FRAME, 1, -56, 0),
        insn(MOVE, 1, CONTEXT, 0, 0),
        insn(MOVE, 2, FRAME, 0, 0),
        insn(ADD_NUMBER, 2, 0, 0, -56),
        insn(MOVE_NUMBER, 3, 0, 0, 4),
        insn(CALL, 0, 0, 0, SET_TUNNEL_OPTION),
        insn(MOVE, 1, CONTEXT, 0, 0),
        insn(LOAD_MAP, 2, 1, 0, map),
        0,
        insn(MOVE_NUMBER, 3, 0, 0, 0),
        insn(CALL, 0, 0, 0, TAIL_CALL),
        insn(MOVE_NUMBER, 0, 0, 0, NOT_JUMPED),
        insn(EXIT, 0, 0, 0, 0),
    ];
    [insn(MOVE, CONTEXT, 1, 0, 0)].into_iter().chain(zeros).chain(tunnel).collect()
}

/// RFC 9669, 3.1, as a little-endian machine has it.
fn insn(code: u8, destination: u8, source: u8, offset: i16, number: i32) -> u64 {
    let registers = u64::from(destination | source << 4);
    u64::from(code) | registers << 8 | u64::from(offset as u16) << 16 | u64::from(number as u32) << 32
}

const FRAME: u8 = 10;
/// Where the context is kept.
const CONTEXT: u8 = 6;
/// The offset of `cb` in `struct __sk_buff`.
const CB: i16 = 48;
const LOOPBACK: i32 = 0x7f00_0001;
const NOT_JUMPED: i32 = 100;

const LOAD_WORD: u8 = 0x61;
const LOAD_MAP: u8 = 0x18;
const STORE_WORD: u8 = 0x62;
const STORE_WORD64: u8 = 0x7a;
const STORE_REGISTER: u8 = 0x63;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const ADD_NUMBER: u8 = 0x07;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// Helpers by their numbers in the kernel's `bpf.h`.
const TAIL_CALL: i32 = 12;
const SET_TUNNEL_KEY: i32 = 21;
const SET_TUNNEL_OPTION: i32 = 30;
