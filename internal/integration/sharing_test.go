package integration

import (
	"fmt"
	"sync"
	"testing"

	"github.com/outhook/webhook"
)

func TestDispatchersShareTheWork(t *testing.T) {
	const handles, publishers, events = 4, 8, 10
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		receiver := newReceiver(t)
		var apps []*app
		for range handles {
			apps = append(apps, b.newApp(t, dsn))
		}
		paths := []string{"first/", "second/", "third/"}
		for _, path := range paths {
			apps[0].register(t, t.Context(), receiver.url+path)
		}
		for _, a := range apps {
			a.run(t)
		}
		var group sync.WaitGroup
		for p := range publishers {
			group.Go(func() {
				for n := range events {
					if _, err := apps[p%handles].Publish(t.Context(), signed(fmt.Sprintf("event-%d-%d", p, n))); err != nil {
						t.Errorf("publish: %v", err)
					}
				}
			})
		}
		group.Wait()

		const want = publishers * events * 3
		received := make(map[string]int)
		for range want {
			received[receiver.next(t)]++
		}
		for message, times := range received {
			if times != 1 {
				t.Errorf("%s was sent %d times", message, times)
			}
		}
		var deliveries []webhook.Delivery
		eventually(t, "all deliveries are settled", func() bool {
			page, err := apps[0].Deliveries(t.Context(), webhook.DeliveryFilter{States: []webhook.State{webhook.StateDelivered}, Limit: 1000})
			if err != nil {
				t.Fatalf("list deliveries: %v", err)
			}
			deliveries = page.Items
			return len(deliveries) >= want
		})
		for _, d := range deliveries {
			attempts, err := apps[0].Attempts(t.Context(), d.ID)
			if err != nil || d.Attempts != 1 || len(attempts) != 1 || attempts[0].StatusCode != 200 {
				t.Fatalf("delivery %+v has the attempts %+v, error %v", d, attempts, err)
			}
		}
		if extra := len(receiver.ids); len(deliveries) != want || extra != 0 {
			t.Errorf("%d deliveries and %d further requests, want %d and none", len(deliveries), extra, want)
		}
	})
}
