//! Links, namespaces and addresses, by netlink.
