//! A kernel map with typed keys and values.
//!
//! Promises: a map is opened only if its key and value have the sizes that `abi` says; a listing is whole or an error.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::error::Error;

/// What marks a type as plain bytes; implemented by the declarations of `abi` alone.
pub(crate) mod sealed {
    /// `repr(C)` or an integer, without padding, valid for every bit pattern, aligned to at most eight bytes.
    pub(crate) trait Plain: Copy + Default + Ord + 'static {}
}

use sealed::Plain;

/// The value as the kernel sees it.
pub(crate) fn bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: a plain type has no padding, so each of its bytes is initialised, for as long as the borrow.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value at the start of what the kernel wrote; `None` where that is too short.
pub(crate) fn value<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: there are enough bytes, and any are a valid value of a plain type.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// A map named `name` of `bpf/maps.h`.
#[derive(Debug)]
pub(crate) struct Table<K, V> {
    name: &'static str,
    fd: OwnedFd,
    capacity: u32,
    kind: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    /// Checks that the map is of this table's type. Errors: [`Error::Shape`], [`Error::Map`].
    pub(crate) fn new(name: &'static str, fd: OwnedFd) -> Result<Self, Error> {
        let info = libbpf_rs::MapInfo::new(fd.as_fd())
            .map_err(|source| Error::library("describe", name, source))?
            .info;
        let (key, value) = (size_of::<K>() as u32, size_of::<V>() as u32);
        if (info.key_size, info.value_size) != (key, value) {
            return Err(Error::Shape {
                map: name,
                found: (info.key_size, info.value_size),
                expected: (key, value),
            });
        }
        Ok(Self { name, fd, capacity: info.max_entries, kind: PhantomData })
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn find(&self, key: &K) -> Result<Option<V>, Error> {
        let mut value = V::default();
        // SAFETY: `new` has checked that the map's key and value have these types' sizes; both are plain bytes.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                self.raw(),
                ptr::from_ref(key).cast(),
                ptr::from_mut(&mut value).cast(),
            )
        };
        match self.outcome("read", result) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn put(&self, key: &K, value: &V) -> Result<(), Error> {
        self.write(key, value, libbpf_sys::BPF_ANY.into())
    }

    /// Writes the entry only if there is none yet; whether it did.
    pub(crate) fn insert(&self, key: &K, value: &V) -> Result<bool, Error> {
        match self.write(key, value, libbpf_sys::BPF_NOEXIST.into()) {
            Ok(()) => Ok(true),
            Err(error) if error.is_taken() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether there was one to remove.
    pub(crate) fn remove(&self, key: &K) -> Result<bool, Error> {
        // SAFETY: `new` has checked the key's size.
        let result = unsafe { libbpf_sys::bpf_map_delete_elem(self.raw(), ptr::from_ref(key).cast()) };
        match self.outcome("remove from", result) {
            Ok(()) => Ok(true),
            Err(error) if error.is_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every entry. What is written meanwhile may be in it or not.
    pub(crate) fn entries(&self) -> Result<Vec<(K, V)>, Error> {
        list(self.raw(), self.name, self.capacity, usize::MAX)
    }

    /// How many entries there are.
    pub(crate) fn count(&self) -> Result<u64, Error> {
        Ok(self.entries()?.len() as u64)
    }

    fn write(&self, key: &K, value: &V, flags: u64) -> Result<(), Error> {
        // SAFETY: `new` has checked the sizes of both.
        let result = unsafe {
            libbpf_sys::bpf_map_update_elem(
                self.raw(),
                ptr::from_ref(key).cast(),
                ptr::from_ref(value).cast(),
                flags,
            )
        };
        self.outcome("write", result)
    }

    fn outcome(&self, operation: &'static str, result: i32) -> Result<(), Error> {
        if result >= 0 { Ok(()) } else { Err(Error::map(operation, self.name, result)) }
    }

    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl<V: Plain> Table<u32, V> {
    /// The elements of an array up to `end`.
    pub(crate) fn until(&self, end: usize) -> Result<Vec<V>, Error> {
        let found = if end == 0 { Vec::new() } else { list(self.raw(), self.name, self.capacity, end)? };
        Ok(found.into_iter().map(|(_, value): (u32, V)| value).collect())
    }

    /// Writes an array's elements from `first` on.
    pub(crate) fn fill(&self, first: u32, values: &[V]) -> Result<(), Error> {
        let keys: Vec<u32> = (first..).take(values.len()).collect();
        let mut count = values.len() as u32;
        if count == 0 {
            return Ok(());
        }
        // SAFETY: `keys` and `values` hold `count` elements of the sizes that `new` has checked; the kernel only reads them.
        let result = unsafe {
            libbpf_sys::bpf_map_update_batch(
                self.raw(),
                keys.as_ptr().cast(),
                values.as_ptr().cast(),
                &raw mut count,
                ptr::null(),
            )
        };
        self.outcome("write", result)
    }
}

/// A map with a value for each CPU.
#[derive(Debug)]
pub(crate) struct CpuTable<K, V> {
    name: &'static str,
    fd: OwnedFd,
    cpus: usize,
    kind: PhantomData<fn(K) -> V>,
}

impl<K: Plain, V: Plain> CpuTable<K, V> {
    /// As [`Table::new`].
    pub(crate) fn new(name: &'static str, fd: OwnedFd) -> Result<Self, Error> {
        let table = Table::<K, V>::new(name, fd)?;
        let cpus = libbpf_rs::num_possible_cpus()
            .map_err(|source| Error::library("count the CPUs of", name, source))?;
        // The kernel rounds each CPU's value up to eight bytes.
        if !size_of::<V>().is_multiple_of(8) {
            return Err(Error::Shape { map: name, found: (0, 8), expected: (0, size_of::<V>() as u32) });
        }
        Ok(Self { name, fd: table.fd, cpus, kind: PhantomData })
    }

    /// Every entry with the values of all CPUs.
    pub(crate) fn entries(&self) -> Result<Vec<(K, Vec<V>)>, Error> {
        let mut found = Vec::new();
        let mut key: Option<K> = None;
        while let Some(next) = self.after(key.as_ref())? {
            if let Some(values) = self.find(&next)? {
                found.push((next, values));
            }
            key = Some(next);
        }
        Ok(found)
    }

    pub(crate) fn put_zero(&self, key: &K) -> Result<(), Error> {
        let values = vec![V::default(); self.cpus];
        // SAFETY: the value's buffer holds one value for each possible CPU, each a multiple of eight bytes.
        let result = unsafe {
            libbpf_sys::bpf_map_update_elem(
                self.fd.as_raw_fd(),
                ptr::from_ref(key).cast(),
                values.as_ptr().cast(),
                libbpf_sys::BPF_NOEXIST.into(),
            )
        };
        match Error::map("write", self.name, result) {
            _ if result >= 0 => Ok(()),
            error if error.is_taken() => Ok(()),
            error => Err(error),
        }
    }

    fn find(&self, key: &K) -> Result<Option<Vec<V>>, Error> {
        let mut values = vec![V::default(); self.cpus];
        // SAFETY: the value's buffer holds one value for each possible CPU, each a multiple of eight bytes.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                self.fd.as_raw_fd(),
                ptr::from_ref(key).cast(),
                values.as_mut_ptr().cast(),
            )
        };
        match Error::map("read", self.name, result) {
            _ if result >= 0 => Ok(Some(values)),
            error if error.is_absent() => Ok(None),
            error => Err(error),
        }
    }

    fn after(&self, key: Option<&K>) -> Result<Option<K>, Error> {
        let mut next = K::default();
        let from = key.map_or(ptr::null(), |key| ptr::from_ref(key).cast::<c_void>());
        // SAFETY: `from` is null or a whole key, `next` has room for one.
        let result = unsafe {
            libbpf_sys::bpf_map_get_next_key(self.fd.as_raw_fd(), from, ptr::from_mut(&mut next).cast())
        };
        match Error::map("list", self.name, result) {
            _ if result >= 0 => Ok(Some(next)),
            error if error.is_absent() => Ok(None),
            error => Err(error),
        }
    }
}

/// Reads a map in batches until the kernel says that there is no more, or there are `limit` entries. A bucket larger than the batch (ENOSPC) is read
/// again with a larger one.
fn list<K: Plain, V: Plain>(
    fd: RawFd,
    name: &'static str,
    capacity: u32,
    limit: usize,
) -> Result<Vec<(K, V)>, Error> {
    let mut found = Vec::new();
    let mut batch = BATCH.min(capacity.max(1)) as usize;
    // A hash map's position is four bytes, any other's a key.
    let mut position = vec![0u64; size_of::<K>().div_ceil(8).max(1)];
    let mut begun = false;
    loop {
        let mut keys = vec![K::default(); batch];
        let mut values = vec![V::default(); batch];
        let mut next = position.clone();
        let mut count = batch as u32;
        let from = if begun { position.as_mut_ptr().cast() } else { ptr::null_mut() };
        // SAFETY: `keys` and `values` have room for `count` elements of the map's sizes, the positions for a key.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_batch(
                fd,
                from,
                next.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                ptr::null(),
            )
        };
        let error = Error::map("list", name, result);
        if result < 0 && error.is_full() && batch < capacity as usize {
            batch = (batch * 4).min(capacity as usize);
            continue;
        }
        if result < 0 && !error.is_absent() {
            return Err(error);
        }
        found.extend(keys.into_iter().zip(values).take(count as usize));
        if result < 0 || found.len() >= limit {
            return Ok(found);
        }
        position = next;
        begun = true;
    }
}

/// Entries read at once.
const BATCH: u32 = 4096;
