//! A kernel in memory, for tests: it keeps what it was told, in the steps that the real one takes, and can be stopped
//! between any two of them.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use record::inspect::Path as Way;
use record::{Group, RuleId};

use super::*;
use crate::attachment::published;

/// See the module.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) state: Mutex<State>,
    on_stop: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    watchers: Mutex<Vec<mpsc::Sender<News>>>,
}

/// What is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// Links by number: the container's namespace and interface.
    pub(crate) links: BTreeMap<u32, (String, String)>,
    /// Numbers whose link is up.
    pub(crate) up: BTreeSet<u32>,
    /// What the maps have of an endpoint.
    pub(crate) endpoints: BTreeMap<u32, Groups>,
    /// Published ports: (protocol, port) to number.
    pub(crate) published: BTreeMap<(u8, u16), u32>,
    pub(crate) records: BTreeMap<Key, Record>,
    pub(crate) generation: Generation,
    pub(crate) node: Option<NodeId>,
    /// Namespaces that exist. `None`: every one does.
    pub(crate) namespaces: Option<BTreeSet<String>>,
    /// Keys that cannot be realised.
    pub(crate) refuse: BTreeSet<Key>,
    /// Steps that are still taken before everything stops; `None`: all.
    pub(crate) steps_left: Option<u32>,
    pub(crate) steps: u32,
    pub(crate) host_ports: BTreeSet<u16>,
    /// The MTU of each link, and how much of it the overlay's header takes.
    pub(crate) mtus: BTreeMap<u32, u16>,
    pub(crate) overhead: u16,
    /// How often the whole of the records was written.
    pub(crate) resyncs: u32,
}

impl Memory {
    /// Nothing more happens once `steps` have been taken; `on_stop` is called then.
    pub(crate) fn stop_after(&self, steps: u32, on_stop: impl FnOnce() + Send + 'static) {
        self.state.lock().steps_left = Some(steps);
        *self.on_stop.lock() = Some(Box::new(on_stop));
    }

    /// Everything works again.
    pub(crate) fn revive(&self) {
        self.state.lock().steps_left = None;
        self.on_stop.lock().take();
    }

    /// The container's namespace ends, and its links with it.
    pub(crate) fn end_namespace(&self, path: &str) {
        let gone: Vec<u32> = {
            let mut state = self.state.lock();
            let gone =
                state.links.iter().filter(|(_, (of, _))| of == path).map(|(number, _)| *number).collect();
            for number in &gone as &Vec<u32> {
                state.links.remove(number);
                state.up.remove(number);
            }
            gone
        };
        for watcher in &*self.watchers.lock() {
            for number in &gone {
                // A watcher of an agent that has stopped hears nothing more.
                let _ = watcher.try_send(News::Gone(*number));
            }
        }
    }

    /// One step of the kernel.
    fn step<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<T, KernelError> {
        let mut state = self.state.lock();
        if state.steps_left == Some(0) {
            drop(state);
            if let Some(on_stop) = self.on_stop.lock().take() {
                on_stop();
            }
            let source = std::io::Error::other("killed").into();
            return Err(KernelError::Failed { operation: "take a step".to_owned(), source });
        }
        state.steps_left = state.steps_left.map(|left| left - 1);
        state.steps += 1;
        Ok(act(&mut state))
    }
}

impl Kernel for Memory {
    fn identify(&self, node: NodeId) -> Result<(), KernelError> {
        self.state.lock().node = Some(node);
        Ok(())
    }

    fn apply(&self, changed: &[Record], removed: &[Key], generation: Generation) -> Vec<Fault> {
        let outcome = self.step(|state| {
            let mut faults = Vec::new();
            for record in changed {
                let key = record.key();
                if state.refuse.contains(&key) {
                    faults.push(Fault { key, reason: "map rows: no room".to_owned() });
                } else {
                    state.records.insert(key, record.clone());
                }
            }
            removed.iter().for_each(|key| drop(state.records.remove(key)));
            state.generation = generation;
            faults
        });
        outcome.unwrap_or_default()
    }

    fn resync(&self, records: &[Record], generation: Generation) -> Vec<Fault> {
        let removed: Vec<Key> = {
            let mut state = self.state.lock();
            state.resyncs += 1;
            let wanted: BTreeSet<Key> = records.iter().map(Record::key).collect();
            state.records.keys().filter(|key| !wanted.contains(key)).cloned().collect()
        };
        self.apply(records, &removed, generation)
    }

    fn attach(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError> {
        let number = attachment.number;
        let netns = attachment.request.netns.display().to_string();
        let interface = attachment.request.interface.clone();
        if self.namespace(&attachment.request.netns).is_none() {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound).into();
            return Err(KernelError::NoNamespace { path: netns, source });
        }
        if self.state.lock().links.values().any(|link| *link == (netns.clone(), interface.clone())) {
            return Err(KernelError::InterfaceTaken { interface, namespace: netns });
        }
        self.step(|state| {
            state.mtus.insert(number, attachment.mtu);
            state.links.insert(number, (netns, interface))
        })?;
        self.step(|state| state.endpoints.insert(number, groups.clone()))?;
        for publish in &attachment.request.publish {
            let port = (publish.protocol.number(), publish.host_port);
            self.step(|state| {
                state.published.insert(port, number);
            })?;
        }
        self.step(|state| {
            state.up.insert(number);
        })
    }

    fn adopt(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError> {
        self.step(|state| {
            state.endpoints.insert(attachment.number, groups.clone());
            for publish in &attachment.request.publish {
                state.published.insert((publish.protocol.number(), publish.host_port), attachment.number);
            }
            state.up.insert(attachment.number);
        })
    }

    fn detach(&self, number: u32) -> Result<(), KernelError> {
        self.step(|state| state.published.retain(|_, of| *of != number))?;
        self.step(|state| {
            state.links.remove(&number);
            state.mtus.remove(&number);
            state.up.remove(&number);
        })?;
        self.step(|state| {
            state.endpoints.remove(&number);
        })
    }

    fn fit(&self, ipv6: bool) -> Result<bool, KernelError> {
        let overhead = if ipv6 { 70 } else { 50 };
        let mut state = self.state.lock();
        Ok(std::mem::replace(&mut state.overhead, overhead) != overhead)
    }

    fn resize(&self, attachment: &Attachment) -> Result<(), KernelError> {
        self.step(|state| state.mtus.insert(attachment.number, attachment.mtu)).map(drop)
    }

    fn regroup(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError> {
        self.step(|state| state.endpoints.insert(attachment.number, groups.clone())).map(drop)
    }

    fn inventory(&self) -> Result<Vec<Found>, KernelError> {
        self.step(|state| {
            let mut numbers: BTreeSet<u32> = state.links.keys().copied().collect();
            numbers.extend(state.endpoints.keys());
            numbers.extend(state.published.values());
            numbers
                .into_iter()
                .map(|number| Found { number, link: state.links.contains_key(&number) })
                .collect()
        })
    }

    fn check(&self, attachment: &Attachment) -> Result<Vec<String>, KernelError> {
        let is_up = self.state.lock().up.contains(&attachment.number);
        Ok(if is_up { Vec::new() } else { vec!["the link is missing".to_owned()] })
    }

    fn namespace(&self, path: &std::path::Path) -> Option<u64> {
        let path = path.display().to_string();
        let exists = self.state.lock().namespaces.as_ref().is_none_or(|known| known.contains(&path));
        exists.then(|| path.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31) + u64::from(byte)))
    }

    fn offers(&self, publish: &record::door::Publish) -> Result<(), KernelError> {
        match self.state.lock().host_ports.contains(&publish.host_port) {
            true => Err(KernelError::PortTaken {
                port: published(publish),
                by: "a process of this host".to_owned(),
            }),
            false => Ok(()),
        }
    }

    fn mac(&self, _: Vni, address: IpAddr) -> Mac {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                Mac([2, 0, a, b, c, d])
            }
            IpAddr::V6(address) => Mac([2, 1, 0, 0, address.octets()[14], address.octets()[15]]),
        }
    }

    fn underlay(&self) -> Underlay {
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        Underlay { addresses, mtu: 1500, container_mtu: 1500 - self.state.lock().overhead.max(50) }
    }

    fn judge(&self, _: &Packet) -> Result<Judgement, KernelError> {
        let generation = self.state.lock().generation;
        let (sender, receiver) = (Group::WORLD, Group::HOST);
        Ok(Judgement {
            generation,
            sender,
            receiver,
            egress: None,
            ingress: None,
            path: Way::Host,
            passes: true,
            reason: None,
        })
    }

    fn flows(&self, _: &FlowFilter) -> Result<Vec<record::inspect::Flow>, KernelError> {
        let end = |text: &str| text.parse().unwrap();
        Ok(vec![record::inspect::Flow {
            vni: Vni::new(100).unwrap(),
            protocol: 6,
            source: end("10.0.0.2"),
            source_port: 40000,
            destination: end("10.0.0.3"),
            destination_port: 80,
            sent: Default::default(),
            received: Default::default(),
            age_ms: 5,
            idle_ms: 1,
            state: "established".to_owned(),
            rule: RuleId(0),
            translation: String::new(),
            judged: Some(Vec::new()),
        }])
    }

    fn drops(&self) -> Result<Vec<DropCount>, KernelError> {
        let traffic = record::inspect::Traffic { packets: 3, bytes: 180 };
        let reason = record::DropReason::PolicyDenied;
        Ok(vec![DropCount { vni: Vni::new(100), reason, rule: RuleId(1), traffic }])
    }

    fn fill(&self) -> Result<Vec<MapFill>, KernelError> {
        Ok(vec![MapFill {
            map: "endpoints".to_owned(),
            used: self.state.lock().endpoints.len() as u64,
            capacity: 64,
        }])
    }

    fn sweep(&self) -> Result<u64, KernelError> {
        Ok(0)
    }

    fn samples(&self, patience: Duration) -> Result<(Vec<DropSample>, u64), KernelError> {
        std::thread::sleep(patience);
        Ok((Vec::new(), 0))
    }

    fn watch(&self) -> Result<mpsc::Receiver<News>, KernelError> {
        let (sender, receiver) = mpsc::channel(64);
        self.watchers.lock().push(sender);
        Ok(receiver)
    }
}
