"""A gardening domain for domainkit. Data only: the kit finds this folder and never imports it."""
