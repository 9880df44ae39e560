//! What may go out, and both directions together.

use super::Recipe;

pub(crate) const EGRESS: &[Recipe] = &[
    Recipe {
        claim: "an app that is denied all egress reaches nobody",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: silent-web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress: []
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     -    -    -    -    -    -    -
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "an app may reach labelled pods alone",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-to-db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     -    -    *    -    -    -    -
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "a namespace is denied all egress",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: silent, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Egress]
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     -    -    -    -    -    -    -
    api     -    -    -    -    -    -    -
    db      -    -    -    -    -    -    -
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "a namespace may reach the fabric's pods and nothing outside",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: inside, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
  - to: [{namespaceSelector: {}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    web     *    *    *    *    *    *    -
    api     *    *    *    *    *    *    -
    db      *    *    *    *    *    *    -
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "an app may reach another namespace's labelled pods, and resolve names anywhere",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: pay-and-dns, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to:
    - namespaceSelector: {matchLabels: {purpose: production}}
      podSelector: {matchLabels: {app: pay}}
  - to: [{namespaceSelector: {}}]
    ports: [{port: 53, protocol: UDP}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     d    d    d    *    d    d    -
    others  *    *    *    *    *    *    *
",
    },
    Recipe {
        claim: "both ends must allow: egress of the one and ingress of the other",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: out, namespace: shop}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: db}}}]
    ports: [{port: 8080}, {port: 5001}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: in, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {tier: back}}}]
    ports: [{port: 80}, {port: 8080}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     -    -    p    -    -    -    -
    db      *    *    hp   *    *    *    *
    others  *    *    -    *    *    *    *
",
    },
    Recipe {
        claim: "a policy of both directions closes both",
        policies: r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: both, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: api}}}]
  egress:
  - to: [{podSelector: {matchLabels: {app: web}}}]
"#,
        table: "
            web  api  db   pay  ops  try  world
    api     *    *    *    *    *    *    *
    db      *    -    -    -    -    -    -
    others  *    *    -    *    *    *    *
",
    },
];
