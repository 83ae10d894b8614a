"""Composition of the query path: from one leg to many namespaces."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from layer_gateway.adapters.embedding_profiles import read_profiles
from layer_gateway.application.asking import AnswerQuery
from layer_gateway.application.auto import SearchAuto
from layer_gateway.application.examples import RankByExample
from layer_gateway.application.facts import Facts
from layer_gateway.application.federating import QueryNamespaces
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.hybrid import SearchText
from layer_gateway.application.legs import RunLegs
from layer_gateway.application.multi_querying import QueryLegs
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.plain_queries import PlainQueries
from layer_gateway.application.plans import MakePlans
from layer_gateway.application.querying import QueryRows
from layer_gateway.application.strong import StrongNamespaces
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.metrics import SearchMetrics
from layer_gateway.ports.stores import Store
from layer_gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """The use cases that answer queries."""

    ask: AnswerQuery
    plain: PlainQueries
    legs: QueryLegs
    federate: QueryNamespaces


def compose_queries(
    settings: GatewaySettings,
    registry: CollectorRegistry,
    *,
    store: Store,
    facts: Facts,
    watermarks: Watermarks,
    fetch: FetchRows,
    namespaces: Namespaces,
) -> Queries:
    """Build them.

    Raises:
        ConfigurationError: When embedding profiles are named that cannot be read.
    """
    plans = MakePlans(facts=facts, strong_namespaces=StrongNamespaces(settings.strong_namespaces))
    run_legs = RunLegs(store=store, plans=plans, watermarks=watermarks)
    by_example = RankByExample(fetch=fetch)
    query = QueryRows(run_legs=run_legs, watermarks=watermarks, rank_by_example=by_example)
    plain = PlainQueries(plans=plans, watermarks=watermarks, query_rows=query)
    observer = SearchMetrics(registry)
    search = SearchText(run_legs=run_legs, watermarks=watermarks, observer=observer)
    ask = AnswerQuery(
        query_rows=query,
        search_text=search,
        search_auto=SearchAuto(search_text=search, query_rows=query, observer=observer),
    )
    legs = QueryLegs(
        store=store,
        plans=plans,
        run_legs=run_legs,
        watermarks=watermarks,
        rank_by_example=by_example,
        observer=observer,
    )
    federate = QueryNamespaces(
        answer_query=ask,
        facts=facts,
        namespaces=namespaces,
        profiles=read_profiles(settings.embedding_profiles_path),
        namespaces_count_max=settings.federated_namespaces_max,
        namespaces_at_once=settings.federated_namespaces_at_once,
        timeout_s=settings.upstream_timeout_s,
    )
    return Queries(ask=ask, plain=plain, legs=legs, federate=federate)
