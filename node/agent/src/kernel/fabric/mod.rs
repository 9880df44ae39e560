//! The real kernel: links by netlink, judged by the datapath.
//!
//! ```text
//!   attach:  veth pair, down ─> datapath on its host end, ports published ─> host end up
//!   detach:  datapath's entries and hooks ─> veth pair ─> pins that a kill left
//! ```
//!
//! Promises: what the module's trait says. The datapath is used by one caller at a time; links by many.

mod pin;
mod port;
mod ready;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use datapath::link::{
    self, AttachError, ContainerLink, HostPlan, InterfaceAddress, LinkId, Links, Namespace, Watch,
};
use datapath::{Datapath, EndpointAddress, LocalEndpoint, Published};
use parking_lot::{Mutex, MutexGuard};
use record::{NodeId, Prefix};

use super::*;
use crate::config::Config;
use crate::mtu::crosses_ipv6;

/// This host's kernel.
pub(crate) struct Fabric {
    /// Attaches and detaches take turns here before they ask for the datapath: hanging a program on a device takes the kernel some
    /// milliseconds, and a policy must wait for one of them at most, not for all.
    turn: Mutex<()>,
    datapath: Mutex<Opened>,
    underlay: Mutex<Underlay>,
    uplink: UplinkPlan,
    pin_dir: PathBuf,
}

/// How the link to the other hosts is found, and what runs on it.
struct UplinkPlan {
    /// The address that tells it; `None`: it is the default route's.
    named: Option<IpAddr>,
    index: u32,
    port: u16,
}

/// The datapath with what it was opened by: it is opened again when the node's number becomes known.
struct Opened {
    config: datapath::Config,
    datapath: Datapath,
}

impl Fabric {
    /// Prepares the host's own links and loads the datapath. `records` are those held: they say how other nodes are reached.
    pub(crate) fn open(
        config: &Config,
        node: Option<NodeId>,
        records: &[Record],
    ) -> Result<Self, KernelError> {
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        let uplink = links
            .uplink(config.underlay.addresses.first().copied())
            .map_err(failed("find the link to the other hosts"))?;
        let addresses = match config.underlay.addresses.as_slice() {
            [] => one_of_each_family(uplink.addresses.iter().map(|own| own.address)),
            given => given.to_vec(),
        };
        let ipv6 = crosses_ipv6(&addresses, node, records.iter());
        let underlay = link::Underlay { mtu: uplink.mtu, ipv6 };
        let plan = HostPlan { port: config.underlay.vxlan_port, ..HostPlan::on(underlay) };
        let host = links.prepare_host(&plan).map_err(failed("prepare the host's own links"))?;
        let mut settings = datapath::Config::new(&config.pin_dir, node.unwrap_or_default());
        settings.underlay.clone_from(&addresses);
        settings.overlay = Some(datapath::Overlay { link: host.overlay, mtu: host.container_mtu });
        settings.leg = Some(datapath::Leg {
            host: host.leg_host,
            host_mac: link::LEG_HOST_MAC,
            fabric: host.leg_fabric,
        });
        settings.uplinks = vec![uplink.index];
        settings.shadow = vec![plan.shadow4, plan.shadow6];
        settings.nat_ports = config.nat_ports.0..=config.nat_ports.1;
        settings.cgroup = config.cgroup.clone().or_else(datapath::cgroup_root);
        if settings.cgroup.is_none() {
            tracing::warn!(
                "no cgroup v2 is mounted: processes of this host do not reach published ports at loopback addresses"
            );
        }
        let datapath = Datapath::open(&settings).map_err(failed("load the datapath"))?;
        Ok(Self {
            turn: Mutex::new(()),
            datapath: Mutex::new(Opened { config: settings, datapath }),
            underlay: Mutex::new(Underlay {
                addresses,
                mtu: narrow(uplink.mtu),
                container_mtu: narrow(host.container_mtu),
            }),
            uplink: UplinkPlan {
                named: config.underlay.addresses.first().copied(),
                index: uplink.index,
                port: config.underlay.vxlan_port,
            },
            pin_dir: config.pin_dir.clone(),
        })
    }

    /// Loads the datapath with other settings; what it holds stays.
    fn reopen(&self, change: impl FnOnce(&mut datapath::Config)) -> Result<(), KernelError> {
        let mut opened = self.datapath.lock();
        let mut config = opened.config.clone();
        change(&mut config);
        let datapath = Datapath::open(&config).map_err(failed("load the datapath with other settings"))?;
        *opened = Opened { config, datapath };
        Ok(())
    }

    /// Judges the host end and publishes the ports.
    fn judge(&self, attachment: &Attachment, groups: &Groups, link: u32) -> Result<(), datapath::Error> {
        let endpoint = LocalEndpoint {
            id: attachment.number,
            link,
            vni: attachment.vni,
            tenant: attachment.tenant,
            mac: attachment.mac,
            addresses: grouped(attachment, groups),
        };
        self.in_turn(|datapath| {
            datapath.attach(&endpoint)?;
            published(attachment).iter().try_for_each(|published| datapath.publish(published))
        })
    }

    /// Work of one container on the datapath.
    fn in_turn<T>(&self, work: impl FnOnce(&mut Datapath) -> T) -> T {
        let turn = self.turn.lock();
        let mut opened = self.datapath.lock();
        let done = work(&mut opened.datapath);
        MutexGuard::unlock_fair(opened);
        MutexGuard::unlock_fair(turn);
        done
    }
}

impl Kernel for Fabric {
    fn identify(&self, node: NodeId) -> Result<(), KernelError> {
        if self.datapath.lock().config.node == node {
            return Ok(());
        }
        self.reopen(|config| config.node = node)
    }

    fn apply(&self, changed: &[Record], removed: &[Key], generation: Generation) -> Vec<Fault> {
        let datapath = &mut self.datapath.lock().datapath;
        realise(changed, removed, |changed, removed| datapath.apply(changed, removed, generation))
    }

    fn resync(&self, records: &[Record], generation: Generation) -> Vec<Fault> {
        let datapath = &mut self.datapath.lock().datapath;
        // The journal is behind where it could not be written: what it has is then brought back under the number in force.
        let generation = datapath.generation().map_or(generation, |held| held.max(generation));
        realise(records, &[], |records, _| datapath.resync(records, generation))
    }

    fn attach(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError> {
        let path = &attachment.request.netns;
        let namespace = Namespace::open(path).map_err(|source| KernelError::NoNamespace {
            path: path.display().to_string(),
            source: source.into(),
        })?;
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        let made = links.attach(&container_link(attachment, &namespace), |host| {
            self.judge(attachment, groups, host.index)
        });
        let Err(error) = made else {
            match ready::await_use(&namespace, &attachment.request.interface) {
                Ok(true) => {}
                Ok(false) => tracing::warn!(number = attachment.number, "its link is not in use yet"),
                Err(error) => {
                    tracing::warn!(number = attachment.number, %error, "whether its link is in use is not known")
                }
            }
            return Ok(());
        };
        // Whatever was judged is nobody's now.
        if let Err(error) = self.in_turn(|datapath| datapath.detach(attachment.number)) {
            tracing::warn!(number = attachment.number, %error, "what was judged of a failed link is still there");
        }
        Err(match error {
            AttachError::Link(link::Error::NameTaken { name, namespace }) => {
                KernelError::InterfaceTaken { interface: name, namespace }
            }
            other => KernelError::Failed {
                operation: format!("make interface {} in {}", attachment.request.interface, path.display()),
                source: Box::new(other),
            },
        })
    }

    fn adopt(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError> {
        let what = || format!("take over link {}", LinkId(attachment.number).host_end());
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        let adopted = links
            .adopt(LinkId(attachment.number), |host| self.judge(attachment, groups, host.index))
            .map_err(|source| KernelError::Failed { operation: what(), source: Box::new(source) })?;
        adopted.map(drop).ok_or_else(|| KernelError::Failed {
            operation: what(),
            source: std::io::Error::from(std::io::ErrorKind::NotFound).into(),
        })
    }

    fn detach(&self, number: u32) -> Result<(), KernelError> {
        let what = |part: &str| format!("remove the {part} of {}", LinkId(number).host_end());
        self.in_turn(|datapath| datapath.detach(number)).map_err(failed(what("datapath")))?;
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        links.detach(LinkId(number)).map_err(failed(what("link")))?;
        pin::remove(&self.pin_dir, number).map_err(failed(what("pins")))
    }

    fn fit(&self, ipv6: bool) -> Result<bool, KernelError> {
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        let uplink = links.uplink(self.uplink.named).map_err(failed("find the link to the other hosts"))?;
        let now = link::Underlay { mtu: uplink.mtu, ipv6 };
        let mut underlay = self.underlay.lock();
        let (mtu, container_mtu) = (narrow(now.mtu), narrow(now.container_mtu()));
        if (underlay.mtu, underlay.container_mtu) == (mtu, container_mtu) {
            return Ok(false);
        }
        let plan = HostPlan { port: self.uplink.port, ..HostPlan::on(now) };
        let host = links.prepare_host(&plan).map_err(failed("fit the host's own links to the underlay"))?;
        self.reopen(|config| {
            config.overlay = Some(datapath::Overlay { link: host.overlay, mtu: host.container_mtu });
        })?;
        tracing::info!(mtu, container_mtu, ipv6, "the underlay has changed");
        (underlay.mtu, underlay.container_mtu) = (mtu, container_mtu);
        Ok(true)
    }

    fn resize(&self, attachment: &Attachment) -> Result<(), KernelError> {
        let what = format!("give {} an MTU of {}", attachment.host_interface(), attachment.mtu);
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        Namespace::open(&attachment.request.netns)
            .and_then(|inside| links.resize(LinkId(attachment.number), &inside, attachment.mtu.into()))
            .map(drop)
            .map_err(failed(what))
    }

    fn regroup(&self, attachment: &Attachment, groups: &Groups) -> Result<(), KernelError> {
        let datapath = &mut self.datapath.lock().datapath;
        datapath
            .regroup(attachment.number, &grouped(attachment, groups))
            .map_err(failed(format!("change the groups of endpoint {}", attachment.request.name)))
    }

    fn inventory(&self) -> Result<Vec<Found>, KernelError> {
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        let owned = links.inventory().map_err(failed("list the links of containers"))?;
        let mut found: BTreeMap<u32, bool> = owned.into_iter().map(|owned| (owned.id.0, true)).collect();
        let judged =
            self.datapath.lock().datapath.endpoints().map_err(failed("list the endpoints in force"))?;
        let pinned = pin::numbers(&self.pin_dir).map_err(failed("list the pins"))?;
        for number in judged.into_iter().map(|endpoint| endpoint.id).chain(pinned) {
            found.entry(number).or_insert(false);
        }
        Ok(found.into_iter().map(|(number, link)| Found { number, link }).collect())
    }

    fn check(&self, attachment: &Attachment) -> Result<Vec<String>, KernelError> {
        let Ok(namespace) = Namespace::open(&attachment.request.netns) else {
            return Ok(vec![format!("network namespace {} is gone", attachment.request.netns.display())]);
        };
        let mut links = Links::open().map_err(failed("open the host's links"))?;
        let found = links
            .check(&container_link(attachment, &namespace))
            .map_err(failed(format!("check interface {}", attachment.request.interface)))?;
        let mut differences: Vec<String> = found.iter().map(ToString::to_string).collect();
        let judged =
            self.datapath.lock().datapath.endpoints().map_err(failed("list the endpoints in force"))?;
        if !judged.iter().any(|endpoint| endpoint.id == attachment.number) {
            differences.push("the datapath does not have it".to_owned());
        }
        Ok(differences)
    }

    fn namespace(&self, path: &Path) -> Option<u64> {
        let identity = Namespace::open(path).and_then(|namespace| namespace.identity());
        identity.ok().map(|identity| identity.inode)
    }

    fn offers(&self, publish: &record::door::Publish) -> Result<(), KernelError> {
        port::offers(publish)
    }

    fn mac(&self, vni: Vni, address: IpAddr) -> Mac {
        link::derived_mac(vni, address)
    }

    fn underlay(&self) -> Underlay {
        self.underlay.lock().clone()
    }

    fn judge(&self, packet: &Packet) -> Result<Judgement, KernelError> {
        self.datapath.lock().datapath.explain(packet).map_err(failed("ask the datapath about a packet"))
    }

    fn flows(&self, filter: &FlowFilter) -> Result<Vec<record::inspect::Flow>, KernelError> {
        self.datapath.lock().datapath.flows(filter).map_err(failed("list flows"))
    }

    fn drops(&self) -> Result<Vec<DropCount>, KernelError> {
        self.datapath.lock().datapath.drops().map_err(failed("read the drop counters"))
    }

    fn fill(&self) -> Result<Vec<MapFill>, KernelError> {
        self.datapath.lock().datapath.fill().map_err(failed("read how full the maps are"))
    }

    fn sweep(&self) -> Result<u64, KernelError> {
        let swept = self.datapath.lock().datapath.sweep().map_err(failed("forget flows that are over"))?;
        Ok(swept.live)
    }

    fn samples(&self, patience: Duration) -> Result<(Vec<DropSample>, u64), KernelError> {
        let mut samples = Vec::new();
        // Waiting is done outside: an attach must not wait for it.
        std::thread::sleep(patience);
        let opened = self.datapath.lock();
        opened
            .datapath
            .events(Duration::ZERO, |sample| samples.push(sample))
            .map_err(failed("read dropped packets"))?;
        let lost =
            opened.datapath.events_lost().map_err(failed("count dropped packets that were not told"))?;
        Ok((samples, lost))
    }

    fn watch(&self) -> Result<mpsc::Receiver<News>, KernelError> {
        let mut watch = Watch::open().map_err(failed("watch links"))?;
        watch.follow(self.uplink.index);
        let (sender, receiver) = mpsc::channel(NEWS);
        tokio::spawn(async move {
            loop {
                let news = tokio::select! {
                    news = watch.next() => news,
                    () = sender.closed() => return,
                };
                let told = match news {
                    Ok(link::Event::Removed { id, .. }) => News::Gone(id.0),
                    Ok(link::Event::Changed) => News::Underlay,
                    Ok(link::Event::Overrun) => News::Lost,
                    Err(error) => {
                        tracing::warn!(error = crate::cause::chain(&error), "the watch over links ended");
                        return;
                    }
                };
                if sender.send(told).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

/// The datapath takes a generation whole or not at all: what it cannot realise is left out, and the rest tried again.
fn realise(
    changed: &[Record],
    removed: &[Key],
    mut attempt: impl FnMut(&[Record], &[Key]) -> Result<(), Vec<datapath::Fault>>,
) -> Vec<Fault> {
    let mut faults: BTreeMap<Key, String> = BTreeMap::new();
    let mut whole = None;
    for _ in 0..ATTEMPTS {
        let changed: Vec<Record> =
            changed.iter().filter(|record| !faults.contains_key(&record.key())).cloned().collect();
        let removed: Vec<Key> = removed.iter().filter(|key| !faults.contains_key(key)).cloned().collect();
        let Err(refused) = attempt(&changed, &removed) else { return told(faults) };
        let named = faults.len();
        for fault in refused {
            let reason = crate::cause::chain(&fault.source);
            match fault.key {
                Some(key) => drop(faults.insert(key, reason)),
                None => whole = Some(reason),
            }
        }
        if whole.is_some() || faults.len() == named {
            break;
        }
    }
    let reason =
        whole.unwrap_or_else(|| "the generation cannot be realised, whatever is left out".to_owned());
    for key in changed.iter().map(Record::key).chain(removed.iter().cloned()) {
        faults.entry(key).or_insert_with(|| reason.clone());
    }
    told(faults)
}

fn told(faults: BTreeMap<Key, String>) -> Vec<Fault> {
    faults.into_iter().map(|(key, reason)| Fault { key, reason }).collect()
}

fn failed<E: std::error::Error + Send + Sync + 'static>(
    operation: impl Into<String>,
) -> impl FnOnce(E) -> KernelError {
    let operation = operation.into();
    move |source| KernelError::Failed { operation, source: Box::new(source) }
}

/// An MTU as records have it.
fn narrow(mtu: u32) -> u16 {
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

fn one_of_each_family(addresses: impl Iterator<Item = IpAddr> + Clone) -> Vec<IpAddr> {
    let first = |ipv4: bool| addresses.clone().find(|address| address.is_ipv4() == ipv4);
    [first(true), first(false)].into_iter().flatten().collect()
}

fn grouped(attachment: &Attachment, groups: &Groups) -> Vec<EndpointAddress> {
    let group = |address| groups.get(&address).copied().unwrap_or(record::Group::UNKNOWN);
    attachment.ips().map(|address| EndpointAddress { address, group: group(address) }).collect()
}

fn container_link<'n>(attachment: &Attachment, namespace: &'n Namespace) -> ContainerLink<'n> {
    let own = |assigned: &record::door::Assigned| InterfaceAddress {
        address: assigned.address,
        length: Prefix::length(assigned.subnet),
    };
    ContainerLink {
        id: LinkId(attachment.number),
        namespace,
        name: attachment.request.interface.clone(),
        mac: attachment.mac,
        addresses: attachment.addresses.iter().map(own).collect(),
        gateways: attachment.addresses.iter().map(|assigned| assigned.gateway).collect(),
        mtu: attachment.mtu.into(),
    }
}

/// The ports as the datapath has them: one without an address counts for each family that the endpoint has.
fn published(attachment: &Attachment) -> Vec<Published> {
    let families = |publish: &record::door::Publish| match publish.address {
        Some(address) => vec![address],
        None => attachment
            .ips()
            .map(|own| match own {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            })
            .collect(),
    };
    let ports = attachment.request.publish.iter().flat_map(|publish| {
        families(publish).into_iter().map(|address| Published {
            address,
            protocol: publish.protocol,
            port: publish.host_port,
            endpoint: attachment.number,
            target: publish.port,
        })
    });
    ports.collect()
}

/// How often a generation is tried again without what could not be realised of it.
const ATTEMPTS: usize = 16;
/// News of links that wait at most; the watch's own buffer is behind it.
const NEWS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tenant_record;

    fn refused(key: Option<Key>) -> Vec<datapath::Fault> {
        vec![datapath::Fault { key, source: datapath::Error::Config("no room") }]
    }

    #[test]
    fn what_cannot_be_realised_is_left_out_and_the_rest_is_in_force() {
        let records: Vec<Record> = (1..=4).map(|id| tenant_record(id, "x")).collect();
        let removed = [tenant_record(9, "x").key()];
        let mut in_force = Vec::new();
        // One fault comes to light only after the other.
        let faults = realise(&records, &removed, |changed, removed| {
            for bad in [2, 3] {
                let key = tenant_record(bad, "").key();
                if changed.iter().any(|record| record.key() == key) {
                    return Err(refused(Some(key)));
                }
            }
            in_force = changed.to_vec();
            assert_eq!(removed.len(), 1);
            Ok(())
        });
        assert_eq!(in_force, [records[0].clone(), records[3].clone()]);
        let failed: Vec<Key> = faults.iter().map(|fault| fault.key.clone()).collect();
        assert_eq!(failed, [records[1].key(), records[2].key()]);
        assert!(faults[0].reason.contains("no room"), "{faults:?}");
    }

    #[test]
    fn a_generation_that_fails_as_a_whole_fails_in_every_record_and_is_not_tried_for_ever() {
        let records = [tenant_record(1, "x"), tenant_record(2, "x")];
        let removed = [tenant_record(9, "x").key()];
        for key in [None, Some(tenant_record(77, "").key())] {
            let mut attempts = 0;
            let faults = realise(&records, &removed, |_, _| {
                attempts += 1;
                Err(refused(key.clone()))
            });
            assert!(attempts <= 2, "{attempts}");
            let failed: Vec<&Key> = faults.iter().map(|fault| &fault.key).collect();
            let all = records.iter().map(Record::key).chain(removed.iter().cloned());
            assert!(all.into_iter().all(|key| failed.contains(&&key)), "{faults:?}");
        }
    }
}
