-- One row for each person; the newest enriched lead of a person wins. {schema} is filled in by the
-- sink. The columns that are generated are there to be searched by; the lead itself is in `lead`.
CREATE TABLE {schema}.leads (
    -- The clean LinkedIn URL, or `id:` and the lead's id where it has none.
    key text PRIMARY KEY,
    lead_id text NOT NULL,
    linkedin_url text,
    lead jsonb NOT NULL,
    name text GENERATED ALWAYS AS (lead ->> 'name') STORED,
    title text GENERATED ALWAYS AS (lead ->> 'title') STORED,
    company text GENERATED ALWAYS AS (lead ->> 'company') STORED,
    email text GENERATED ALWAYS AS (lead ->> 'email') STORED,
    phone text GENERATED ALWAYS AS (lead ->> 'phone') STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX leads_updated_at ON {schema}.leads (updated_at);
CREATE INDEX leads_lead_id ON {schema}.leads (lead_id);
