// The examples of the documentation in its JavaScript form, against TURBOPUFFER_BASE_URL.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";

import Turbopuffer from "@turbopuffer/turbopuffer";

const tpuf = new Turbopuffer();
const freshName = () => `js-${randomBytes(6).toString("hex")}`;
const fresh = () => tpuf.namespace(freshName());
const ids = (found) => found.rows.map((row) => row.id);
const fullText = { type: "string", full_text_search: true };

async function animals() {
  const ns = fresh();
  await ns.write({
    upsert_rows: [
      { id: 1, vector: [0.1, 0.9], category: "mammal", public: 1, text: "walrus narwhal" },
      { id: 2, vector: [0.8, 0.3], category: "fish", public: 0, text: "pufferfish clownfish swordfish" },
    ],
    distance_metric: "cosine_distance",
    schema: { text: fullText },
  });
  return ns;
}

test("the nearest row that a filter keeps", async () => {
  const ns = await animals();
  const found = await ns.query({
    rank_by: ["vector", "ANN", [0.2, 0.8]],
    top_k: 10,
    filters: ["And", [["category", "Eq", "mammal"], ["public", "Eq", 1]]],
    include_attributes: ["category"],
  });
  assert.deepEqual(ids(found), [1]);
  assert.equal(found.rows[0].category, "mammal");
});

test("a full-text score is the documented number", async () => {
  const ns = await animals();
  const found = await ns.query({ rank_by: ["text", "BM25", "quick walrus"], limit: 10 });
  assert.deepEqual(found.rows.map((row) => [row.id, row.$dist]), [[1, 0.7549128]]);
});

test("rows are replaced and deleted by id", async () => {
  const ns = await animals();
  await ns.write({
    upsert_rows: [1, 2, 3].map((id) => ({ id, vector: [0.5, 0.5], name: "foo" })),
    distance_metric: "cosine_distance",
  });
  await ns.write({ deletes: [1, 3] });
  const found = await ns.query({ rank_by: ["id", "asc"], limit: 10, include_attributes: ["name"] });
  assert.deepEqual(ids(found), [2]);
});

test("one request upserts columns, patches and deletes", async () => {
  const ns = fresh();
  const written = await ns.write({
    upsert_columns: {
      id: [1, 2, 3],
      vector: [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]],
      "my-string": ["one", null, "three"],
      "my-string-array": [["a", "b"], ["b", "d"], []],
    },
    patch_columns: { id: [5, 6], "my-string": ["x", "y"] },
    deletes: [7, 8],
    distance_metric: "cosine_distance",
  });
  assert.equal(written.rows_affected, 3);
  const found = await ns.query({
    rank_by: ["id", "asc"],
    limit: 10,
    filters: ["my-string-array", "Contains", "b"],
  });
  assert.deepEqual(ids(found), [1, 2]);
});

test("a condition lets no version go back", async () => {
  const ns = fresh();
  await ns.write({ upsert_rows: [{ id: 101, version: 2 }, { id: 102, version: 5 }] });
  const written = await ns.write({
    upsert_rows: [{ id: 101, version: 3 }, { id: 102, version: 4 }, { id: 103, version: 1 }],
    upsert_condition: ["version", "Lt", { $ref_new: "version" }],
    return_affected_ids: true,
  });
  assert.deepEqual(written.upserted_ids, [101, 103]);
  const found = await ns.query({ limit: 10, include_attributes: ["version"] });
  assert.deepEqual(found.rows.map((row) => [row.id, row.version]), [[101, 3], [102, 5], [103, 1]]);
});

test("rows are patched and deleted by a filter", async () => {
  const ns = fresh();
  await ns.write({
    upsert_rows: [
      { id: 101, title: "LISP Guide", views: 10, status: "published" },
      { id: 102, title: "AI for Practitioners", views: 2500, status: "published" },
      { id: 103, title: "Rust Basics", views: 50, status: "published" },
    ],
  });
  const patched = await ns.write({
    patch_by_filter: {
      filters: ["And", [["status", "Eq", "published"], ["views", "Lte", 100]]],
      patch: { status: "archived" },
    },
  });
  assert.equal(patched.rows_affected, 2);
  const deleted = await ns.write({
    delete_by_filter: ["And", [["title", "IGlob", "*guide*"], ["views", "Lte", 1000]]],
  });
  assert.equal(deleted.rows_affected, 1);
  const found = await ns.query({ rank_by: ["id", "asc"], limit: 10, include_attributes: ["status"] });
  assert.deepEqual(found.rows.map((row) => [row.id, row.status]), [[102, "published"], [103, "archived"]]);
});

test("bm25 ranks as the guide shows", async () => {
  const ns = fresh();
  await ns.write({
    upsert_rows: [
      "turbopuffer is a fast search engine with FTS, filtering, and vector search support",
      "turbopuffer can store billions and billions of documents cheaper than any other search engine",
      "turbopuffer will support many more types of queries as it evolves. turbopuffer will only get faster.",
    ].map((content, index) => ({ id: index + 1, content })),
    schema: { content: fullText },
  });
  const ranked = { rank_by: ["content", "BM25", "turbopuffer"], limit: 10 };
  assert.deepEqual(ids(await ns.query(ranked)), [3, 1, 2]);
  const filters = ["content", "ContainsAllTokens", "search engine"];
  assert.deepEqual(ids(await ns.query({ ...ranked, filters })), [1, 2]);
});

test("several queries see one state and are fused", async () => {
  const ns = await animals();
  const queries = [
    { rank_by: ["vector", "ANN", [1.0, 0.0]], limit: 2 },
    { rank_by: ["text", "BM25", "walrus"], limit: 2 },
  ];
  const apart = await ns.multiQuery({ queries });
  assert.deepEqual(apart.results.map(ids), [[2, 1], [1]]);
  const fused = await ns.multiQuery({ queries, rerank_by: ["RRF"], limit: 1 });
  assert.deepEqual(fused.results.map(ids), [[1]]);
});

test("rows are counted by group", async () => {
  const ns = fresh();
  await ns.write({
    upsert_rows: [
      { id: 1, color: "red", tags: ["a", "b"] },
      { id: 2, color: "blue", tags: ["b"] },
      { id: 3, color: "red", tags: [] },
    ],
  });
  const count = { n: ["Count"] };
  const counted = await ns.query({ aggregate_by: count, filters: ["id", "Gte", 2] });
  assert.deepEqual(counted.aggregations, { n: 2 });
  const byColor = await ns.query({ aggregate_by: count, group_by: ["color"] });
  assert.deepEqual(byColor.aggregation_groups, [{ color: "blue", n: 1 }, { color: "red", n: 2 }]);
  const byTag = await ns.query({ aggregate_by: count, group_by: [{ tag: ["ForEachUnique", "tags"] }] });
  assert.deepEqual(byTag.aggregation_groups, [{ tag: "a", n: 1 }, { tag: "b", n: 2 }]);
});

test("pages advance by id", async () => {
  const ns = fresh();
  await ns.write({ upsert_rows: Array.from({ length: 23 }, (_, index) => ({ id: index + 1 })) });
  const seen = [];
  let lastId = null;
  for (;;) {
    const filters = lastId === null ? undefined : ["id", "Gt", lastId];
    const page = await ns.query({ rank_by: ["id", "asc"], limit: 10, filters });
    seen.push(...ids(page));
    if (page.rows.length < 10) break;
    lastId = seen.at(-1);
  }
  assert.deepEqual(seen, Array.from({ length: 23 }, (_, index) => index + 1));
});

test("a branch and a copy go their own way", async () => {
  const source_namespace = freshName();
  const source = tpuf.namespace(source_namespace);
  await source.write({ upsert_rows: [{ id: 1 }, { id: 2 }] });
  const [branch, copy] = [fresh(), fresh()];
  await branch.branchFrom({ source_namespace });
  await copy.copyFrom({ source_namespace });
  await branch.write({ upsert_rows: [{ id: 3 }] });
  await source.write({ deletes: [1] });
  const all = { rank_by: ["id", "asc"], limit: 10 };
  const found = await Promise.all([branch, copy, source].map((ns) => ns.query(all)));
  assert.deepEqual(found.map(ids), [[1, 2, 3], [1, 2], [2]]);
});

test("namespaces are listed, described, pinned, warmed, measured and deleted", async () => {
  const prefix = freshName();
  const names = ["a", "b", "c"].map((suffix) => `${prefix}-${suffix}`);
  const namespaces = names.map((name) => tpuf.namespace(name));
  for (const ns of namespaces) {
    await ns.write({
      upsert_rows: [{ id: 1, vector: [1, 2], title: "x" }],
      distance_metric: "euclidean_squared",
    });
  }
  const listed = [];
  for await (const summary of tpuf.namespaces({ prefix, page_size: 2 })) listed.push(summary.id);
  assert.deepEqual(listed, names);

  const [ns] = namespaces;
  assert.equal((await ns.metadata()).approx_row_count, 1);
  assert.equal((await ns.updateMetadata({ pinning: { replicas: 2 } })).pinning.replicas, 2);
  assert.equal((await ns.schema()).title.type, "string");
  assert.equal((await ns.updateSchema({ schema: { title: { type: "string", filterable: false } } })).title.filterable, false);
  assert.ok(["ACCEPTED", "OK"].includes((await ns.hintCacheWarm()).status));
  assert.equal((await ns.recall({ num: 1, top_k: 1 })).avg_recall, 1);
  assert.ok((await ns.explainQuery({ rank_by: ["id", "asc"], limit: 1 })).plan_text);
  assert.equal(await ns.exists(), true);
  assert.equal((await ns.deleteAll()).status, "OK");
  assert.equal(await ns.exists(), false);
});

test("refusals are the errors that the client documents", async () => {
  const ns = await animals();
  const query = { rank_by: ["id", "asc"], limit: 1 };
  const refused = [
    [Turbopuffer.BadRequestError, () => ns.query({ ...query, filters: ["nope", "Eq", 1] })],
    [Turbopuffer.UnprocessableEntityError, () => ns.query({ ...query, rank_by: ["text", "BM26", "x"] })],
    [Turbopuffer.NotFoundError, () => fresh().query(query)],
  ];
  for (const [kind, ask] of refused) await assert.rejects(ask, kind);
});

test("bodies and answers may be compressed", async () => {
  const client = new Turbopuffer({ compression: true });
  const ns = client.namespace(freshName());
  const rows = Array.from({ length: 100 }, (_, id) => ({ id, note: `number ${id} `.repeat(30) }));
  await ns.write({ upsert_rows: rows });
  const found = await ns.query({ rank_by: ["id", "asc"], limit: 100, include_attributes: ["note"] });
  assert.deepEqual(found.rows.map((row) => [row.id, row.note]), rows.map((row) => [row.id, row.note]));
});

test("vectors come back as they went", async () => {
  const ns = fresh();
  const vector = [0.1, 0.7, -3.25];
  await ns.write({ upsert_rows: [{ id: 1, vector }], distance_metric: "cosine_distance" });
  const found = await ns.query({ rank_by: ["id", "asc"], limit: 1, include_attributes: ["vector"] });
  assert.deepEqual(found.rows[0].vector, vector);
});
