"""A real Kubernetes cluster on a bare Linux machine, from pinned Go modules.

Two sizes. The *control plane* (etcd, API server, controller manager, scheduler) needs no root and answers in seconds:
the tests of the controller and of the webhook run on it. The *node cluster* adds a kubelet, containerd, kube-proxy and
cluster DNS in Linux namespaces of its own, needs root and a few Debian packages, and runs pods.

Standard library only, so that `make cluster` can call it before any virtual environment exists.
"""
