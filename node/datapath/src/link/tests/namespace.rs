use super::*;

#[test]
fn two_namespaces_differ_in_identity_and_cookie_and_one_agrees_with_itself() {
    let (one, other) = (fresh(), fresh());
    assert_ne!(one.identity().unwrap(), other.identity().unwrap());
    assert_ne!(one.cookie().unwrap(), other.cookie().unwrap());
    let again = Namespace::open(path_of(&one)).unwrap();
    assert_eq!(again.identity().unwrap(), one.identity().unwrap());
    assert_eq!(again.cookie().unwrap(), one.cookie().unwrap());
    let own = Namespace::of_pid(std::process::id()).unwrap();
    assert_eq!(own.identity().unwrap(), Namespace::open("/proc/self/ns/net").unwrap().identity().unwrap());
}

#[test]
fn work_inside_leaves_the_callers_thread_where_it_was() {
    alone(|| {
        let before = Namespace::current().unwrap().identity().unwrap();
        let other = fresh();
        let inside = other.inside(|| Namespace::current().unwrap().identity().unwrap()).unwrap();
        assert_eq!(inside, other.identity().unwrap());
        assert_eq!(Namespace::current().unwrap().identity().unwrap(), before);
    });
}

#[test]
fn a_panic_inside_goes_on_outside() {
    let other = fresh();
    let outcome = std::panic::catch_unwind(|| other.inside(|| panic!("of the work")));
    assert_eq!(outcome.unwrap_err().downcast_ref(), Some(&"of the work"));
}

#[test]
fn what_is_no_network_namespace_is_refused_by_name() {
    for path in ["/proc/self/ns/mnt", "/dev/null", "/proc/self/status"] {
        let error = Namespace::open(path).unwrap_err();
        assert!(matches!(&error, Error::NotANamespace { .. }), "{path}: {error:?}");
        assert_eq!(
            error.to_string(),
            format!("open network namespace {path}: it is not a network namespace")
        );
    }
    let error = Namespace::open("/run/netns/of-nobody").unwrap_err();
    assert!(
        matches!(&error, Error::NamespaceOpen { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
}

#[test]
fn links_mean_the_namespace_they_were_opened_in_from_whichever_thread() {
    let (one, other) = (fresh(), fresh());
    let mut links = Links::open_in(&one).unwrap();
    let inner = fresh();
    let attached = other.inside(|| links.attach(&dual(1, &inner), content).unwrap()).unwrap();
    assert!(one.inside(link_names).unwrap().contains(&attached.host.name));
    assert_eq!(other.inside(link_names).unwrap(), ["lo"]);
    let setting = "/proc/sys/net/ipv6/conf/sl00000001/disable_ipv6";
    assert_eq!(one.inside(|| std::fs::read_to_string(setting).unwrap()).unwrap(), "1\n");
}
