def test_x(client, png):
    r = client.post("/v1/search/text", json={"text": "heart enlarged", "k": 3, "filters": {"all": ["cardiomegaly"]}})
    print(r.status_code, r.text[:3000])
    r = client.post("/v1/search/image", files={"image": ("a.png", png)}, data={"k": 2, "filters": '{"view":"frontal"}'})
    print(r.status_code, r.text[:300])
    for u in (
        "/v1/models",
        "/v1/studies/3",
        "/v1/studies/3/similar?with=Nodule&k=2",
        "/health/ready",
        "/health/live",
        "/schema/openapi.json",
        "/schema",
        "/",
        "/?text=heart&k=2",
        "/?study=3",
        "/static/page.css",
        "/nope",
        "/schema/nope",
    ):
        r = client.get(u)
        print(u, r.status_code, r.headers["content-type"], r.text[:200])
    r = client.post("/search/image", files={"image": ("a.png", png)}, data={"k": 2, "with": "Nodule"})
    print(r.status_code, r.text[:100])
    assert 0
