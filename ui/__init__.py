"""How people touch the kit: command line, HTTP API, Streamlit app."""
