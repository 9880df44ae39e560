use std::time::Duration;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(100);

fn listening(work: impl AsyncFnOnce(Watch, Links) + Send) {
    alone(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { work(Watch::open().unwrap(), Links::open().unwrap()).await });
    });
}

async fn heard(watch: &mut Watch) -> Event {
    tokio::time::timeout(PATIENCE, watch.next()).await.expect("an event in time").unwrap()
}

#[test]
fn each_removal_of_ours_is_told_and_none_of_others() {
    listening(async |mut watch, mut links| {
        let (one, two) = (fresh(), fresh());
        links.prepare_host(&plan()).unwrap();
        let first = links.attach(&dual(1, &one), content).unwrap().host.index;
        let second = links.attach(&dual(2, &two), content).unwrap().host.index;
        ip("link add sl00000003 type veth peer name theirs");
        ip("link del theirs");
        // A bridge tells of a port that leaves it in the words of a removal.
        ip("link add bridge0 type bridge");
        ip("link set sl00000001 master bridge0");
        ip("link set sl00000001 nomaster");
        links.purge_host().unwrap();
        links.detach(LinkId(1)).unwrap();
        assert_eq!(heard(&mut watch).await, Event::Removed { id: LinkId(1), index: first });
        drop(two);
        assert_eq!(heard(&mut watch).await, Event::Removed { id: LinkId(2), index: second });
        assert!(tokio::time::timeout(QUIET, watch.next()).await.is_err(), "silence was expected");
    });
}

#[test]
fn a_link_removed_from_within_its_container_is_told() {
    listening(async |mut watch, mut links| {
        let inner = fresh();
        let index = links.attach(&dual(8, &inner), content).unwrap().host.index;
        ip_in(&inner, "link del eth0");
        assert_eq!(heard(&mut watch).await, Event::Removed { id: LinkId(8), index });
    });
}

#[test]
fn an_overrun_is_told_and_the_watch_goes_on() {
    listening(async |mut watch, mut links| {
        let inner = fresh();
        links.attach(&dual(1, &inner), content).unwrap();
        let host = links.netlink.device_named("sl00000001").unwrap().unwrap();
        // Nobody listens meanwhile, and each change of the link is a message of about two kilobytes.
        for mtu in (0..20_000).map(|turn| 1400 + turn % 2) {
            links.netlink.set_device(&host, rtnetlink::packet_route::link::LinkAttribute::Mtu(mtu)).unwrap();
        }
        links.detach(LinkId(1)).unwrap();
        assert_eq!(heard(&mut watch).await, Event::Overrun);
        // After word of an overrun the inventory is the truth, and later events come again.
        assert_eq!(links.inventory().unwrap(), []);
        while tokio::time::timeout(QUIET, watch.next()).await.is_ok() {}
        let index = links.attach(&dual(2, &inner), content).unwrap().host.index;
        links.detach(LinkId(2)).unwrap();
        assert_eq!(heard(&mut watch).await, Event::Removed { id: LinkId(2), index });
    });
}
