"""Checks of a Qdrant server or cluster: nodes, replicas, graphs, payload indexes, limits, and what the key does not see."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from ingest.doctor.checks import CheckResult, Diagnosis
from ingest.doctor.server.health import CollectionHealth, ServerHealth
from ingest.doctor.server.strict_mode import possible_refusals, refused_requests
from retrieval.index.schema import ALIAS, PAYLOAD_INDEXES, model_of, vector_kb

OLDEST_VERSION = (1, 18)
"""The oldest server that the tests of this project were run on."""

_GUIDE = "docs/guides/server-and-cluster.md#when-a-node-is-gone"
_RECOVERING = ("Partial", "Recovery", "PartialSnapshot", "Initializing", "ActiveRead", "ManualRecovery")


def check_server(health: ServerHealth) -> list[CheckResult]:
    """The results of the checks of a server or cluster as a whole."""
    return [
        _check_version(health),
        _check_nodes(health),
        *_check_agreement(health),
        _check_aliases(health),
        _check_disks(health),
        *_check_key(health),
    ]


def check_server_collection(diagnosis: Diagnosis, health: ServerHealth, *, timeout_s: int) -> None:
    """Add the results for the collection of `diagnosis`; `timeout_s` is the timeout that requests carry."""
    found = health.collections.get(diagnosis.collection)
    if found is None:
        return
    _check_replicas(diagnosis, health, found)
    _check_optimizer(diagnosis, health, found)
    _check_graphs(diagnosis, health, found)
    _check_payload_indexes(diagnosis, health, found)
    _check_limits(diagnosis, found, timeout_s)
    size = f"{_gigabytes(found.disk_bytes)} on all nodes" if found.disk_bytes is not None else _hidden(health)
    diagnosis.add("size on disk", found.disk_bytes is None, size, level="note")


def _check_version(health: ServerHealth) -> CheckResult:
    versions = {version for version in health.addresses.values() if version}
    versions |= {node.version for node in health.nodes or () if node.version}
    where = ", ".join(health.addresses)
    if not versions:
        return CheckResult("server", "note", f"{where}: its version is {_hidden(health)}")
    shown = f"Qdrant {', '.join(sorted(versions))} at {where}"
    if old := sorted(version for version in versions if _parts(version) < OLDEST_VERSION):
        oldest = ".".join(map(str, OLDEST_VERSION))
        return CheckResult(
            "server", "problem", f"{shown}: {old[0]} is older than {oldest}, the oldest that was tried; upgrade it"
        )
    if len(versions) > 1:
        return CheckResult("server", "note", f"{shown}: nodes of different versions; complete the upgrade")
    return CheckResult("server", "ok", shown)


def _check_nodes(health: ServerHealth) -> CheckResult:
    away = [f"{address} does not answer ({reason})" for address, reason in health.silent.items()]
    if health.nodes is None:
        return CheckResult("nodes", "problem" if away else "note", "; ".join(away) or _hidden(health))
    gone = [node for node in health.nodes if node.answers is False]
    if gone:
        away.append(
            f"no answer from {', '.join(f'{node.address} (node {node.peer})' for node in gone)} to the other nodes"
        )
    if not away:
        unknown = sum(node.answers is None for node in health.nodes)
        shown = f"{len(health.nodes)}: {', '.join(node.address for node in health.nodes)}"
        return CheckResult("nodes", "ok", shown + (f"; whether they answer is {_hidden(health)}" if unknown else ""))
    message = f"{'; '.join(away)}. Start it again: its replicas recover by themselves"
    if gone:
        message += f". If it is gone for good, replace it ({_GUIDE})"
    return CheckResult("nodes", "problem", message)


def _check_agreement(health: ServerHealth) -> list[CheckResult]:
    """Check that the nodes can agree on collections, aliases and replicas; searches and writes of points go on without."""
    if not health.is_cluster:
        return []
    nodes = health.nodes or ()
    needed, answering = len(nodes) // 2 + 1, sum(node.answers is not False for node in nodes)
    found = []
    if nodes and (answering < needed or not health.has_leader):
        message = f"no majority: {needed} of {len(nodes)} must answer before a collection, alias or replica can change"
        found.append(CheckResult("majority", "problem", message))
    elif len(nodes) == 2:
        message = (
            "two nodes have no majority when one is away: then no collection, alias or replica can change. A third node, "
            "also a small one, prevents this"
        )
        found.append(CheckResult("majority", "note", message))
    if health.consensus_error:
        message = f"{health.consensus_error}. The node takes no part in changes; see its log, and start it again"
        found.append(CheckResult("agreement of the nodes", "problem", message))
    return found


def _check_aliases(health: ServerHealth) -> CheckResult:
    if health.aliases is None:
        return CheckResult("aliases", "note", _hidden(health))
    shown = ", ".join(f"{alias} -> {target}" for alias, target in sorted(health.aliases.items()))
    if ALIAS not in health.aliases and health.collections:
        message = f"no alias {ALIAS}: no model is active, or the token of this key does not name the alias"
        return CheckResult("aliases", "note", message + (f"; others: {shown}" if shown else ""))
    return CheckResult("aliases", "ok", shown or "none")


def _check_disks(health: ServerHealth) -> CheckResult:
    sizes = ", ".join(f"{_gigabytes(size)} at {address}" for address, size in health.disks.items())
    of = f" The disk of its system has {sizes}." if sizes else ""
    return CheckResult("free disk", "note", f"a Qdrant server does not tell it; watch the disk of each node.{of}")


def _check_key(health: ServerHealth) -> list[CheckResult]:
    if not health.sends_key_in_clear:
        return []
    message = "the key crosses the network unencrypted, since the address begins with http://; use TLS (https://)"
    return [CheckResult("key", "note", message)]


def _check_replicas(diagnosis: Diagnosis, health: ServerHealth, found: CollectionHealth) -> None:
    if found.replicas is None or found.config is None:
        diagnosis.add("replicas", True, _hidden(health), level="note")
        return
    wanted = found.config.params.replication_factor
    by_shard = defaultdict(list)
    for replica in found.replicas:
        by_shard[replica.shard].append(replica)
    faults = []
    advice: set[str] = set()
    for shard, replicas in sorted(by_shard.items()):
        active = [each for each in replicas if each.state == "Active" and not _is_away(health, each.peer)]
        others = [
            f"{'away' if each.state == 'Active' else each.state} on {health.name_of(each.peer)}"
            for each in replicas
            if each not in active
        ]
        if len(active) < wanted or others:
            faults.append(
                f"shard {shard}: {len(active)} of {wanted} replicas" + (f" ({', '.join(others)})" if others else "")
            )
        if not active:
            advice.add("without a replica, searches fail until its node is back or a snapshot is restored")
        if any(each.state in _RECOVERING for each in replicas):
            advice.add("a replica is being recovered: run `cxr doctor` again in a minute")
        elif any(each not in active for each in replicas):
            advice.add(f"a dead replica recovers by itself when its node is back; if the node is gone: {_GUIDE}")
        elif len(active) < wanted:
            advice.add(f"add replicas ({_GUIDE})")
    by_node = Counter(health.name_of(each.peer) for each in found.replicas)
    shown = f"shards x replicas: {len(by_shard)} x {wanted}; " + ", ".join(
        f"{count} on {node}" for node, count in sorted(by_node.items())
    )
    diagnosis.add("replicas", bool(faults), f"{'; '.join(faults)}; {'; '.join(sorted(advice))}" if faults else shown)


def _check_optimizer(diagnosis: Diagnosis, health: ServerHealth, found: CollectionHealth) -> None:
    finish = f"run `cxr ingest finish --model {model_of(diagnosis.collection)}`"
    statuses, queue = found.statuses, found.queue
    waiting = f"{queue.queued_points:,} images wait for it" if queue and queue.queued_optimizations else ""
    where = ", ".join(
        sorted({health.name_of(each.peer) for each in found.replicas or () if each.status in ("grey", "red")})
    )
    on = f" on {where}" if where else ""
    errors = [f"{health.name_of(peer)}: {error}" for peer, error in sorted(found.errors.items())]
    if found.info and found.info.optimizer_status != "ok":
        errors = errors or [str(found.info.optimizer_status)]
    if errors or "red" in statuses:
        diagnosis.add("optimizer", True, f"it has failed{on}: {'; '.join(errors) or 'see the log of the server'}")
    elif "grey" in statuses:
        diagnosis.add(
            "optimizer",
            True,
            f"it was interrupted{on} and begins again only with the next write{'; ' + waiting if waiting else ''}; {finish}",
        )
    elif found.running or "yellow" in statuses:
        diagnosis.add("optimizer", True, f"it works{'; ' + waiting if waiting else ''}", level="note")
    elif _is_paused(found):
        # While an ingest goes on, another result says so.
        loading = any(each.check == "complete" and each.level == "problem" for each in diagnosis.results)
        message = f"it is paused, and searches compare all images; {finish}"
        diagnosis.add("optimizer", True, message, level="note" if loading else "problem")
    elif not statuses:
        diagnosis.add("optimizer", True, _hidden(health), level="note")
    else:
        diagnosis.add("optimizer", bool(waiting), f"{waiting}; {finish}" if waiting else "has done all")


def _check_graphs(diagnosis: Diagnosis, health: ServerHealth, found: CollectionHealth) -> None:
    if not found.seen_peers:
        diagnosis.add("graphs", True, _hidden(health), level="note")
        return
    names = dict.fromkeys(each.name for each in found.segments)
    counts = ", ".join(
        f"{name} {sum(s.in_graph for s in found.segments if s.name == name):,} of "
        f"{sum(s.images for s in found.segments if s.name == name):,}"
        for name in sorted(names)
    )
    holders = {each.peer for each in found.replicas or ()}
    unseen = len(holders - found.seen_peers)
    partly = (
        f"; seen on {len(found.seen_peers)} of {len(holders)} nodes: name all of them in CXR_INDEX" if unseen else ""
    )
    lacking = _lacking_graphs(health, found)
    if lacking:
        message = f"{lacking}; run `cxr ingest finish --model {model_of(diagnosis.collection)}`"
    elif found.config and found.config.hnsw_config.m and any(each.in_graph for each in found.segments):
        message = f"images in graphs: {counts}{partly}"
    else:
        message = f"none is needed: searches compare all images{partly}"
    diagnosis.add("graphs", bool(lacking), message, level="note" if found.running else "problem")


def _lacking_graphs(health: ServerHealth, found: CollectionHealth) -> str:
    """The vectors without a graph in segments above the threshold; empty if there are none."""
    threshold_kb = found.config.optimizer_config.indexing_threshold if found.config else None
    if not threshold_kb or not found.config or not found.config.hnsw_config.m:
        return ""
    lacking: Counter[tuple[str, int]] = Counter()
    for each in found.segments:
        if not each.in_graph and vector_kb(each.dim, each.images) > threshold_kb:
            lacking[each.name, each.peer] += each.images
    return "; ".join(
        f"{images:,} images have no graph of {name} on {health.name_of(peer)}"
        for (name, peer), images in lacking.items()
    )


def _check_payload_indexes(diagnosis: Diagnosis, health: ServerHealth, found: CollectionHealth) -> None:
    if found.info is None:
        diagnosis.add("payload indexes", True, _hidden(health), level="note")
        return
    held = {name: each.data_type for name, each in found.info.payload_schema.items()}
    missing = [f"{name} ({kind})" for name, kind in PAYLOAD_INDEXES.items() if held.get(name) != kind]
    diagnosis.add(
        "payload indexes",
        bool(missing),
        f"{', '.join(missing)} missing: filters read every payload. Add each: PUT /collections/{diagnosis.collection}/index "
        '{"field_name": …, "field_schema": …}'
        if missing
        else f"{len(PAYLOAD_INDEXES)}, none is missing",
    )


def _check_limits(diagnosis: Diagnosis, found: CollectionHealth, timeout_s: int) -> None:
    if found.config is None:
        return
    strict_mode = found.config.strict_mode_config
    refused = refused_requests(strict_mode, timeout_s=timeout_s)
    if refused:
        diagnosis.add(
            "strict mode", True, f"{'; '.join(refused)}. Raise it, or set strict_mode_config.enabled to false"
        )
        return
    possible = possible_refusals(strict_mode)
    diagnosis.add(
        "strict mode",
        bool(possible),
        f"may refuse: {', '.join(possible)}" if possible else "refuses nothing",
        level="note",
    )


def _is_away(health: ServerHealth, peer: int) -> bool:
    return any(node.peer == peer and node.answers is False for node in health.nodes or ())


def _is_paused(found: CollectionHealth) -> bool:
    optimizer = found.config.optimizer_config if found.config else None
    return optimizer is not None and 0 in (optimizer.indexing_threshold, optimizer.max_optimization_threads)


def _hidden(health: ServerHealth) -> str:
    """Why something is not known."""
    return "not known while nodes do not answer" if health.is_hindered else "not visible with this key"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
