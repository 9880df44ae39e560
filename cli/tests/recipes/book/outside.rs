//! The world and address blocks.

use super::Recipe;

pub(crate) const OUTSIDE: &[Recipe] = &[
    Recipe {
        claim: "an app is opened to the world by a rule without peers, in a namespace that is closed",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: public, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - ports: [{port: 80}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    world   *    -    -    *    *    *    *
    others  h    -    -    *    *    *    *
",
    },
    Recipe {
        claim: "an ingress block lets in its addresses but those that it excepts",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: block-in, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}
    - ipBlock: {cidr: '2001:db8:113::/64', except: ['2001:db8:113::80/121']}
"#,
        table: "
            web  api  db   pay  ops  try  world
    world   n    *    *    *    *    *    *
    others  -    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "an egress block lets out to its addresses but those that it excepts",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: block-out, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to:
    - ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.128/25]}
    - ipBlock: {cidr: '2001:db8:113::/64', except: ['2001:db8:113::80/121']}
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     -    -    -    -    -    -    n
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "blocks of several policies overlap, and the longer one wins nothing from the other",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all-but, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [203.0.113.0/24]}}, {ipBlock: {cidr: '::/0', except: ['2001:db8:113::/64']}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: that-one, namespace: shop}
spec:
  podSelector: {matchLabels: {tier: front}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 203.0.113.200/32}}, {ipBlock: {cidr: '2001:db8:113::c8/128'}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     *    *    *    *    *    *    f
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "a block of one port is that port alone",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-pages, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to: [{ipBlock: {cidr: 10.30.0.0/16}}, {ipBlock: {cidr: 'fd00:30::/64'}}]
    ports: [{port: 80}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     h    h    h    h    h    h    -
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "nobody outside is let in by a rule about namespaces, nobody of a namespace by one about the world",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: mixed, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{namespaceSelector: {matchLabels: {purpose: testing}}}]
    ports: [{port: 8080}]
  - from: [{ipBlock: {cidr: 203.0.113.200/32}}, {ipBlock: {cidr: '2001:db8:113::c8/128'}}]
    ports: [{port: 80}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    try     *    *    p    *    *    *    *
    world   *    *    f    *    *    *    *
    others  *    *    -    *    *    *    *
",
    },
];
