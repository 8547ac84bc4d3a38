def test_x(app, built_home):
    at=app()
    at.run()
    print([(type(e).__name__, getattr(e,'key',None)) for e in at.button_group])
    for e in list(at.main)[:5]:
        if type(e).__name__=="UnknownElement": print(e.type, str(e.proto)[:200])
    at.button(key="history.new").click().run()
    print([(type(e).__name__, getattr(e,'key',None)) for e in at.button_group])
    for e in list(at.main)[:5]:
        if type(e).__name__=="UnknownElement": print(e.type, str(e.proto)[:200])
    assert 0
