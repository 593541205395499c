"""Why a prediction came out as it did: sampling, shared neighbourhoods, local fits."""
